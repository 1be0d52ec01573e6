"""The labels that a worker's join token was made with, which its key keeps."""

from __future__ import annotations

from typing import Any

from peewee import TextField


def up(migrator: Any, db: Any) -> None:
    """Keys from before have none."""
    migrator.migrate(
        migrator.add_column("access_key", "labels_json", TextField(null=True)),
        migrator.add_column("join_token", "labels_json", TextField(null=True)),
    )
