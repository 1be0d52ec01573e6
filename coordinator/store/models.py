"""The tables, as peewee models. Bound to no database: `store.py` executes every query itself.

Times are seconds since the epoch. Columns named `..._json` hold JSON that is never searched.
A change here needs a new file in `migrations/`.
"""

from __future__ import annotations

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    CompositeKey,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

WORD = 32
"""Longest status."""
REASON = 64
"""Longest failure reason."""
NAME = 255
"""Longest indexed name; names from plans may be longer and are not indexed."""
KEY = 64
"""Longest public key as text."""
DIGEST = 64
"""A sha256 in hexadecimal digits."""


class Table(Model):
    """Base of all tables."""

    class Meta:
        legacy_table_names = False


class Run(Table):
    """One run's summary. Its large, immutable parts are in `RunPlan` and `RunWorkspace`."""

    id = BigIntegerField(primary_key=True)
    token = CharField(NAME, unique=True)
    name = TextField()
    project = TextField()
    source_json = TextField()
    status = CharField(WORD, index=True)
    canceling = BooleanField()
    created_at = DoubleField(null=True)
    started_at = DoubleField(null=True)
    finished_at = DoubleField(null=True)
    parent_json = TextField(null=True)
    ref = TextField(null=True)
    root = BigIntegerField(null=True, index=True)


class RunPlan(Table):
    """The plan of a run, written once."""

    run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
    plan_json = TextField()


class RunWorkspace(Table):
    """The workspace of a run that has one, written once."""

    run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
    workspace_json = TextField()


class RunProjects(Table):
    """The projects that a run has brought along, written once; none for most runs."""

    run = ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
    projects_json = TextField()


class Stage(Table):
    """One stage of a run; `position` counts from 0 in the plan's order."""

    run = ForeignKeyField(Run, on_delete="CASCADE", index=False)
    position = IntegerField()
    name = TextField()
    status = CharField(WORD)
    started_at = DoubleField(null=True)
    finished_at = DoubleField(null=True)

    class Meta:
        primary_key = CompositeKey("run", "position")


class Job(Table):
    """One job of a run; its plan is found by its name in the run's plan."""

    id = BigIntegerField(primary_key=True)
    run = ForeignKeyField(Run, on_delete="CASCADE", index=False)
    stage_position = IntegerField()
    name = TextField()
    status = CharField(WORD)
    pending_reason = TextField(null=True)
    failure_reason = CharField(REASON, null=True)
    message = TextField(null=True)
    allowed_to_fail = BooleanField()
    played = BooleanField()
    play_variables_json = TextField()
    automatic_retries = IntegerField()
    not_before_at = DoubleField(null=True)
    created_at = DoubleField(null=True)
    started_at = DoubleField(null=True)
    finished_at = DoubleField(null=True)
    not_before_mono = DoubleField(null=True)
    not_before_boot = TextField(null=True)
    child_runs_json = TextField(null=True)
    external_json = TextField(null=True)
    inputs_json = TextField(null=True)

    class Meta:
        indexes = (
            (("run", "status", "allowed_to_fail"), False),  # covers the counts in the list of runs
            (("name", "run"), False),  # for lists of the runs that have a job
        )


class Attempt(Table):
    """One attempt of a job. `id` is "JOB.NUMBER"."""

    id = CharField(64, primary_key=True)
    job = ForeignKeyField(Job, on_delete="CASCADE")
    number = IntegerField()
    worker = TextField()
    status = CharField(WORD)
    status_seq = BigIntegerField()
    released = BooleanField()
    canceling = BooleanField()
    revoking = BooleanField()
    exit_code = BigIntegerField(null=True)
    failure_reason = CharField(REASON, null=True)
    message = TextField(null=True)
    artifacts_json = TextField()
    dotenv_json = TextField()
    tests_json = TextField(null=True)
    coverage = DoubleField(null=True)
    log_length = BigIntegerField(null=True)
    assigned_at = DoubleField(null=True)
    started_at = DoubleField(null=True)
    finished_at = DoubleField(null=True)
    release_json = TextField(null=True)
    pages_json = TextField(null=True)
    inputs_json = TextField(null=True)
    reports_json = TextField(null=True)

    class Meta:
        indexes = (
            SQL('CREATE INDEX "attempt_released" ON "attempt" ("finished_at") WHERE "release_json" IS NOT NULL'),
        )


class OwnWorkspace(Table):
    """Files that a job's attempts from `number` on get in place of its run's; NULL: the run's again."""

    job = ForeignKeyField(Job, on_delete="CASCADE", index=False)
    number = IntegerField()
    workspace_json = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("job", "number")


class AttemptTests(Table):
    """The packed results of an attempt's tests, written once. `files` identifies the files of its run."""

    job = ForeignKeyField(Job, on_delete="CASCADE", index=False)
    number = IntegerField()
    files = TextField()
    results = BlobField()

    class Meta:
        primary_key = CompositeKey("job", "number")


class Environment(Table):
    """One environment, by its last deployment. `run` may have been removed, so it is no foreign key."""

    project = CharField(NAME)
    name = CharField(NAME)
    slug = TextField()
    tier = TextField()
    url = TextField()
    status = CharField(WORD)
    run = BigIntegerField(index=True)
    job = TextField()
    ref = TextField()
    sha = TextField()
    deployed_at = DoubleField()
    stop_jobs_json = TextField()
    stopping_json = TextField()
    auto_stop_in = DoubleField(null=True)
    auto_stop_at = DoubleField(null=True)
    auto_stop_mono = DoubleField(null=True)
    auto_stop_boot = TextField(null=True)
    stopped_at = DoubleField(null=True)
    message = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("project", "name")


class Kept(Table):
    """The container of an ended attempt that its worker keeps. `run` may have been removed, so it is no foreign key."""

    attempt = CharField(64, primary_key=True)
    run = BigIntegerField()
    job = TextField()
    worker = TextField()
    until = DoubleField()


class Worker(Table):
    """One worker that has said hello at least once. Its online status is not stored: after a start, all are offline."""

    name = CharField(NAME, primary_key=True)
    labels_json = TextField()
    run_untagged = BooleanField()
    slots = BigIntegerField()
    draining = BooleanField()
    disk_low = BooleanField()
    last_seen_at = DoubleField(null=True)
    executor_json = TextField()


class StoryLine(Table):
    """One event in a job's story, in order of `id`."""

    id = BigIntegerField(primary_key=True)
    run = ForeignKeyField(Run, on_delete="CASCADE")
    job = TextField()
    attempt = CharField(64, null=True)
    at = DoubleField()
    text = TextField()


class AccessKey(Table):
    """An enrolled public key. Revoked keys are kept, so that they stay refused."""

    key = CharField(KEY, primary_key=True)
    name = CharField(NAME)
    role = CharField(WORD)
    token = CharField(DIGEST)
    created_at = DoubleField()
    created_by = TextField()
    revoked_at = DoubleField(null=True)
    labels_json = TextField(null=True)


class JoinToken(Table):
    """A join token; `digest` is the sha256 of its secret, which is not stored."""

    digest = CharField(DIGEST, primary_key=True)
    role = CharField(WORD)
    created_at = DoubleField()
    created_by = TextField()
    expires_at = DoubleField()
    used_by = TextField(null=True)
    labels_json = TextField(null=True)


class Secret(Table):
    """A secret, encrypted with a key outside the database. An empty `project` means all projects."""

    project = CharField(NAME)
    name = CharField(NAME)
    branches_json = TextField()
    labels_json = TextField()
    file = BooleanField()
    sealed = TextField()
    changed_at = DoubleField()
    changed_by = TextField()

    class Meta:
        primary_key = CompositeKey("project", "name")


class Project(Table):
    """A repository that starts runs by itself. `hook_secret` is sealed as secrets are."""

    name = CharField(NAME, primary_key=True)
    spec_json = TextField()
    hook_secret = TextField(null=True)
    paused = BooleanField()
    created_at = DoubleField()
    created_by = TextField()


class RunTrigger(Table):
    """One reason for a run, kept after it. `project` and `run` may be gone, so they are no foreign keys."""

    id = BigIntegerField(primary_key=True)
    project = CharField(NAME)
    key = CharField(NAME)
    spec_json = TextField()
    state = CharField(WORD, index=True)
    run = BigIntegerField(null=True, index=True)
    reason = TextField()
    created_at = DoubleField()
    settled_at = DoubleField(null=True)

    class Meta:
        indexes = ((("project", "key"), True),)


class Schedule(Table):
    """A cron expression by which a project starts runs, and up to which time its due times have been dealt with.

    `project` is no foreign key: its removal removes the schedules one by one, each with a line in the audit.
    """

    id = BigIntegerField(primary_key=True)
    project = CharField(NAME)
    token = CharField(NAME, unique=True)
    spec_json = TextField()
    paused = BooleanField()
    created_at = DoubleField()
    created_by = TextField()
    considered_until = DoubleField()
    waiting_due = DoubleField(null=True)
    last_trigger = BigIntegerField(null=True)
    last_due = DoubleField(null=True)
    note = TextField()


class Channel(Table):
    """Where messages about a project go. `sealed` has the address and secret, `address` what may be shown of it."""

    id = BigIntegerField(primary_key=True)
    project = CharField(NAME)
    token = CharField(NAME, unique=True)
    address = TextField()
    on_event = CharField(WORD)
    branches_json = TextField()
    sealed = TextField()
    created_at = DoubleField()
    created_by = TextField()


class Delivery(Table):
    """One thing to tell others: the newest status of a commit in one context, or a message of one channel.

    `seq` is its version, in order of all deliveries; those of one `lane` are made one after the other.
    """

    key = CharField(NAME, primary_key=True)
    seq = BigIntegerField(index=True)
    project = CharField(NAME)
    lane = TextField()
    content_json = TextField()
    state = CharField(WORD, index=True)
    attempts = BigIntegerField()
    not_before = DoubleField()
    error = TextField()
    created_at = DoubleField()
    changed_at = DoubleField()


class BranchOutcome(Table):
    """The last result of a project's branch; `key` is the digest of both."""

    key = CharField(DIGEST, primary_key=True)
    project = CharField(NAME)
    branch = TextField()
    run = BigIntegerField()
    broken = BooleanField()
    told_at = DoubleField()


class AuditLine(Table):
    """One audited action, in order of `id`. Triggers in the database refuse to change or delete a row."""

    id = BigIntegerField(primary_key=True)
    at = DoubleField()
    actor = TextField()
    role = CharField(WORD)
    action = TextField()
    subject = TextField()
    detail = TextField()


class Meta(Table):
    """Metadata of the database: the coordinator's lasting id, and the current term."""

    key = CharField(NAME, primary_key=True)
    value = TextField()


TABLES: tuple[type[Table], ...] = (
    Run,
    RunPlan,
    RunWorkspace,
    RunProjects,
    Stage,
    Job,
    Attempt,
    OwnWorkspace,
    AttemptTests,
    Environment,
    Kept,
    Worker,
    StoryLine,
    AccessKey,
    JoinToken,
    Secret,
    Project,
    RunTrigger,
    Schedule,
    Channel,
    Delivery,
    BranchOutcome,
    AuditLine,
    Meta,
)
"""In an order that satisfies foreign keys on insertion."""
