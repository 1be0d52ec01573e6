"""A run's workspace as one value: packs or a tar."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Replaces the columns of a tar alone; workspaces of existing runs are dropped."""
    migrator.migrate(
        migrator.add_column("run", "workspace_json", TextField(null=True)),
        migrator.drop_column("run", "workspace"),
        migrator.drop_column("run", "workspace_size"),
    )
