"""When a job's delay ends, by a clock that does not jump."""

from __future__ import annotations

from typing import Any

from peewee import DoubleField, TextField


def up(migrator: Any, db: Any) -> None:
    """Delays that are under way go on by the wall clock once more."""
    migrator.migrate(
        migrator.add_column("job", "not_before_mono", DoubleField(null=True)),
        migrator.add_column("job", "not_before_boot", TextField(null=True)),
    )
