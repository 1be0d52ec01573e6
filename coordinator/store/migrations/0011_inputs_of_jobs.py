"""The inputs of jobs: those that users have set, and the values that each attempt got."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the columns; existing jobs have no inputs."""
    for table in ("job", "attempt"):
        migrator.migrate(migrator.add_column(table, "inputs_json", TextField(null=True)))
