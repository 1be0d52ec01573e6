"""The runs that a job's trigger has started."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the column; existing jobs have started no runs."""
    migrator.migrate(migrator.add_column("job", "child_runs_json", TextField(null=True)))
