"""Pipelines of other projects: a run's ref, its topmost run, and what it or its jobs have of other projects."""

from __future__ import annotations

import json
from typing import Any

from peewee import BigIntegerField, CharField, ForeignKeyField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds columns and a table, and makes room for GitLab's longest failure reasons. Existing runs have their ref."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Run(Table):
        id = BigIntegerField(primary_key=True)
        source_json = TextField()
        ref = TextField(null=True)

    class RunProjects(Table):
        run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
        projects_json = TextField()

    db.create_tables([RunProjects], safe=False)
    migrator.migrate(
        migrator.add_column("run", "ref", TextField(null=True)),
        migrator.add_column("run", "root", BigIntegerField(null=True)),
        migrator.add_column("job", "external_json", TextField(null=True)),
        migrator.add_index("run", ("root",)),
        migrator.alter_column_type("job", "failure_reason", CharField(64, null=True)),
        migrator.alter_column_type("attempt", "failure_reason", CharField(64, null=True)),
    )
    for run in Run.select(Run.id, Run.source_json):
        try:
            ref = json.loads(run.source_json).get("ref")
        except (ValueError, AttributeError):
            continue  # a damaged row, which stays for readers to report
        Run.update(ref=ref).where(Run.id == run.id).execute()
