"""Projects that start runs by themselves, and the triggers of their runs."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BooleanField, CharField, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Creates the tables."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Project(Table):
        name = CharField(255, primary_key=True)
        spec_json = TextField()
        hook_secret = TextField(null=True)
        paused = BooleanField()
        created_at = DoubleField()
        created_by = TextField()

    class RunTrigger(Table):
        id = BigIntegerField(primary_key=True)
        project = CharField(255)
        key = CharField(255)
        spec_json = TextField()
        state = CharField(32, index=True)
        run = BigIntegerField(null=True, index=True)
        reason = TextField()
        created_at = DoubleField()
        settled_at = DoubleField(null=True)

        class Meta:
            indexes = ((("project", "key"), True),)

    db.create_tables([Project, RunTrigger], safe=False)
