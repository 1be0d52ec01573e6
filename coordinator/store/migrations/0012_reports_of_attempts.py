"""Links, line coverage and code quality that an attempt has reported."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the column; existing attempts have no such reports."""
    migrator.migrate(migrator.add_column("attempt", "reports_json", TextField(null=True)))
