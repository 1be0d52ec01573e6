"""The tables of the first release. Deliberately a frozen copy of that release's models."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    CharField,
    CompositeKey,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


def up(migrator: Any, db: Any) -> None:
    """Creates the tables."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Run(Table):
        id = BigIntegerField(primary_key=True)
        token = CharField(255, unique=True)
        name = TextField()
        project = TextField()
        source_json = TextField()
        workspace = CharField(255, null=True)
        workspace_size = BigIntegerField()
        status = CharField(32, index=True)
        canceling = BooleanField()
        created_at = DoubleField(null=True)
        started_at = DoubleField(null=True)
        finished_at = DoubleField(null=True)

    class RunPlan(Table):
        run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
        plan_json = TextField()

    class Stage(Table):
        run = ForeignKeyField(Run, on_delete="CASCADE", index=False)
        position = IntegerField()
        name = TextField()
        status = CharField(32)
        started_at = DoubleField(null=True)
        finished_at = DoubleField(null=True)

        class Meta:
            primary_key = CompositeKey("run", "position")

    class Job(Table):
        id = BigIntegerField(primary_key=True)
        run = ForeignKeyField(Run, on_delete="CASCADE", index=False)
        stage_position = IntegerField()
        name = TextField()
        status = CharField(32)
        pending_reason = TextField(null=True)
        failure_reason = CharField(32, null=True)
        message = TextField(null=True)
        allowed_to_fail = BooleanField()
        played = BooleanField()
        play_variables_json = TextField()
        automatic_retries = IntegerField()
        not_before_at = DoubleField(null=True)
        created_at = DoubleField(null=True)
        started_at = DoubleField(null=True)
        finished_at = DoubleField(null=True)

        class Meta:
            indexes = ((("run", "status", "allowed_to_fail"), False),)

    class Attempt(Table):
        id = CharField(64, primary_key=True)
        job = ForeignKeyField(Job, on_delete="CASCADE")
        number = IntegerField()
        worker = TextField()
        status = CharField(32)
        status_seq = BigIntegerField()
        released = BooleanField()
        canceling = BooleanField()
        revoking = BooleanField()
        exit_code = BigIntegerField(null=True)
        failure_reason = CharField(32, null=True)
        message = TextField(null=True)
        artifacts_json = TextField()
        dotenv_json = TextField()
        tests_json = TextField(null=True)
        coverage = DoubleField(null=True)
        log_length = BigIntegerField(null=True)
        assigned_at = DoubleField(null=True)
        started_at = DoubleField(null=True)
        finished_at = DoubleField(null=True)

    class Worker(Table):
        name = CharField(255, primary_key=True)
        labels_json = TextField()
        run_untagged = BooleanField()
        slots = BigIntegerField()
        engine = TextField()
        draining = BooleanField()
        disk_low = BooleanField()
        last_seen_at = DoubleField(null=True)

    class StoryLine(Table):
        id = BigIntegerField(primary_key=True)
        run = ForeignKeyField(Run, on_delete="CASCADE")
        job = TextField()
        attempt = CharField(64, null=True)
        at = DoubleField()
        text = TextField()

    class Meta(Table):
        key = CharField(255, primary_key=True)
        value = TextField()

    db.create_tables([Run, RunPlan, Stage, Job, Attempt, Worker, StoryLine, Meta], safe=False)
