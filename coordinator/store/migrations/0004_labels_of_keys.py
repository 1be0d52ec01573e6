"""The labels of join tokens for workers, which their keys inherit."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the columns; existing keys have no labels."""
    migrator.migrate(
        migrator.add_column("access_key", "labels_json", TextField(null=True)),
        migrator.add_column("join_token", "labels_json", TextField(null=True)),
    )
