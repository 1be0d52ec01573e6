"""What runs a worker's jobs, in full instead of a line about its engine."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """A worker says it again with its next hello."""
    migrator.migrate(
        migrator.drop_column("worker", "engine"),
        migrator.add_column("worker", "executor_json", TextField(default="{}")),
    )
