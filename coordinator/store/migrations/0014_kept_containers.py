"""Containers that workers keep after their jobs' end."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, CharField, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the table; no worker keeps a container yet."""

    class Kept(Model):
        attempt = CharField(64, primary_key=True)
        run = BigIntegerField()
        job = TextField()
        worker = TextField()
        until = DoubleField()

        class Meta:
            database = db
            legacy_table_names = False

    db.create_tables([Kept], safe=False)
