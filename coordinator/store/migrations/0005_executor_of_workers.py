"""A worker's executor in full, instead of a line about its engine."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Replaces the column; a worker reports its executor with its next hello."""
    migrator.migrate(
        migrator.drop_column("worker", "engine"),
        migrator.add_column("worker", "executor_json", TextField(default="{}")),
    )
