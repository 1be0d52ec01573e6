"""Schedules of projects."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BooleanField, CharField, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Creates the table."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Schedule(Table):
        id = BigIntegerField(primary_key=True)
        project = CharField(255)
        token = CharField(255, unique=True)
        spec_json = TextField()
        paused = BooleanField()
        created_at = DoubleField()
        created_by = TextField()
        considered_until = DoubleField()
        waiting_due = DoubleField(null=True)
        last_trigger = BigIntegerField(null=True)
        last_due = DoubleField(null=True)
        note = TextField()

    db.create_tables([Schedule], safe=False)
