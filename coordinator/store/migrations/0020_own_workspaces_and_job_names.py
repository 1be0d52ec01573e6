"""Files of a job in place of its run's; an index of the names of jobs."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, CompositeKey, ForeignKeyField, IntegerField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the table and the index; existing jobs have the files of their runs."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Job(Table):
        id = BigIntegerField(primary_key=True)

    class OwnWorkspace(Table):
        job = ForeignKeyField(Job, on_delete="CASCADE", index=False)
        number = IntegerField()
        workspace_json = TextField(null=True)

        class Meta:
            primary_key = CompositeKey("job", "number")

    db.create_tables([OwnWorkspace], safe=False)
    migrator.migrate(migrator.add_index("job", ("name", "run_id")))
