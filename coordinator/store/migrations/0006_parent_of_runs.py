"""The job that triggered a run."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the column; existing runs have no parent."""
    migrator.migrate(migrator.add_column("run", "parent_json", TextField(null=True)))
