"""The end of a job's delay by the monotonic clock, which does not jump."""

from __future__ import annotations

from typing import Any

from peewee import DoubleField, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the columns; delays in progress continue by the wall clock once more."""
    migrator.migrate(
        migrator.add_column("job", "not_before_mono", DoubleField(null=True)),
        migrator.add_column("job", "not_before_boot", TextField(null=True)),
    )
