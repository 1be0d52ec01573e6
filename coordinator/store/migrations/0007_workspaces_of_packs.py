"""A run's workspace as one value, packs or a tar, in a table of its own."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, ForeignKeyField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Replaces the columns of a tar alone; workspaces of existing runs are dropped."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Run(Table):
        id = BigIntegerField(primary_key=True)

    class RunWorkspace(Table):
        run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
        workspace_json = TextField()

    db.create_tables([RunWorkspace], safe=False)
    migrator.migrate(migrator.drop_column("run", "workspace"), migrator.drop_column("run", "workspace_size"))
