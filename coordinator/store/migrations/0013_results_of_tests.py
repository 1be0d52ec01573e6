"""The results of the tests of attempts."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BlobField, CompositeKey, ForeignKeyField, IntegerField, Model, TextField


def up(migrator: Any, db: Any) -> None:
    """Adds the table; of existing attempts, no results are known."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Job(Table):
        id = BigIntegerField(primary_key=True)

    class AttemptTests(Table):
        job = ForeignKeyField(Job, on_delete="CASCADE", index=False)
        number = IntegerField()
        files = TextField()
        results = BlobField()

        class Meta:
            primary_key = CompositeKey("job", "number")

    db.create_tables([AttemptTests], safe=False)
