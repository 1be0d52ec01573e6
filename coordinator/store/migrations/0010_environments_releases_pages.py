"""Environments by their last deployment; the releases and pages that attempts have made."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, CharField, CompositeKey, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the table and the columns; deployments, releases and pages of existing runs are not recorded."""

    class Environment(Model):
        project = CharField(255)
        name = CharField(255)
        slug = TextField()
        tier = TextField()
        url = TextField()
        status = CharField(32)
        run = BigIntegerField(index=True)
        job = TextField()
        ref = TextField()
        sha = TextField()
        deployed_at = DoubleField()
        stop_jobs_json = TextField()
        stopping_json = TextField()
        auto_stop_in = DoubleField(null=True)
        auto_stop_at = DoubleField(null=True)
        auto_stop_mono = DoubleField(null=True)
        auto_stop_boot = TextField(null=True)
        stopped_at = DoubleField(null=True)
        message = TextField(null=True)

        class Meta:
            database = db
            legacy_table_names = False
            primary_key = CompositeKey("project", "name")

    db.create_tables([Environment], safe=False)
    migrator.migrate(
        migrator.add_column("attempt", "release_json", TextField(null=True)),
        migrator.add_column("attempt", "pages_json", TextField(null=True)),
    )
    db.execute_sql('CREATE INDEX "attempt_released" ON "attempt" ("finished_at") WHERE "release_json" IS NOT NULL')
