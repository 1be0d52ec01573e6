"""What others are told of runs: channels, deliveries, and the last results of branches."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BooleanField, CharField, DoubleField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Creates the tables."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Channel(Table):
        id = BigIntegerField(primary_key=True)
        project = CharField(255)
        token = CharField(255, unique=True)
        address = TextField()
        on_event = CharField(32)
        branches_json = TextField()
        sealed = TextField()
        created_at = DoubleField()
        created_by = TextField()

    class Delivery(Table):
        key = CharField(255, primary_key=True)
        seq = BigIntegerField(index=True)
        project = CharField(255)
        lane = TextField()
        content_json = TextField()
        state = CharField(32, index=True)
        attempts = BigIntegerField()
        not_before = DoubleField()
        error = TextField()
        created_at = DoubleField()
        changed_at = DoubleField()

    class BranchOutcome(Table):
        key = CharField(64, primary_key=True)
        project = CharField(255)
        branch = TextField()
        run = BigIntegerField()
        broken = BooleanField()
        told_at = DoubleField()

    db.create_tables([Channel, Delivery, BranchOutcome], safe=False)
