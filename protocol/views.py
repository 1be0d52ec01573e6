"""Views of runs, stages, jobs and workers for readers. Times are seconds since the epoch (UTC), or None.

The CLI's `--json` and the dashboard are both based on them.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from protocol.names import Digest
from protocol.plan import InputValue, Release
from protocol.reports import JobReports
from protocol.statuses import EnvironmentStatus, ExecutionStatus, FailureReason, WorkerStatus


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all views."""


PAGES = "pages"
"""The kind of an artifact that is an archive of static pages; its members are relative to their directory."""


class ArtifactRef(View, frozen=True, kw_only=True):
    """A stored artifact of an attempt: `kind` is archive or a report's; `digest` is the sha256 of its blob.

    An archive is a tar, compressed with zstd.
    """

    kind: str
    digest: Digest
    size: int
    name: str = ""
    expires_at: float | None = None


class ParentJob(View, frozen=True, kw_only=True):
    """The job that triggered a run. `level` is 1 for a child, 2 for a child's child.

    A run of another project has `project`, that of the job, and level 0: it is no child. `root` is the topmost of all
    runs above, children and others.
    """

    run: int
    job: str
    level: int = 1
    project: str = ""
    root: int = 0


class JUnitSummary(View, frozen=True, kw_only=True):
    """Test counts of a job's `reports:junit`, and the names of its first failures."""

    total: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[str] = []


class Pages(View, frozen=True, kw_only=True):
    """The static pages that a successful job has published; their files are its artifact of the kind PAGES.

    `publish` is their directory in the project, `size` the sum of the files in bytes.
    """

    publish: str
    path_prefix: str = ""
    files: int = 0
    size: int = 0
    expires_at: float | None = None


class AttemptView(View, frozen=True, kw_only=True):
    """One attempt of a job. `inputs` are the values of the job's inputs that it got. `workspace` identifies the files
    that it got in place of its run's.
    """

    id: str
    number: int
    status: ExecutionStatus
    worker: str | None = None
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    inputs: dict[str, InputValue] = {}
    workspace: str | None = None
    started_at: float | None = None
    finished_at: float | None = None


class JobView(View, frozen=True, kw_only=True):
    """One job of a run with its current attempt. `attempt` counts from 1; 0 means none yet.

    `by_stage`: the job has no `needs` and waits for all earlier stages. `child_runs` are those that its `trigger` has
    started, oldest first: of `downstream_project`, if its trigger names one. `mirrors` is the run whose status it
    takes. `reports` is a summary; `JobDetail` has all of it. `workspace` identifies the files that its current attempt
    got in place of the run's. `kept_until`: its newest attempt's container is kept.
    """

    id: int
    name: str
    status: ExecutionStatus
    attempt: int = 0
    attempt_id: str | None = None
    worker: str | None = None
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    allow_failure: bool = False
    when: str = "on_success"
    needs: list[str] = []
    by_stage: bool = False
    pending_reason: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    artifacts: list[ArtifactRef] = []
    tests: JUnitSummary | None = None
    reports: JobReports | None = None
    coverage: float | None = None
    child_runs: list[int] = []
    downstream_project: str | None = None
    mirrors: int | None = None
    workspace: str | None = None
    environment: str | None = None
    environment_url: str | None = None
    release: Release | None = None
    pages: Pages | None = None
    kept_until: float | None = None


class Deployment(View, frozen=True, kw_only=True):
    """A job that has deployed to an environment, and when it succeeded."""

    run: int
    job: str
    ref: str = ""
    sha: str = ""
    at: float = 0.0


class EnvironmentView(View, frozen=True, kw_only=True):
    """A deployment target of a project, by its last deployment.

    `stop_jobs` are the jobs of that deployment's run that stop it. `message` is for people: why it was stopped, or why
    it was not.
    """

    project: str
    name: str
    slug: str
    tier: str
    status: EnvironmentStatus
    deployment: Deployment
    url: str = ""
    stop_jobs: list[str] = []
    auto_stop_at: float | None = None
    stopped_at: float | None = None
    message: str | None = None


class ReleaseView(View, frozen=True, kw_only=True):
    """A release with the job that has made it, and when that succeeded."""

    run: int
    job: str
    project: str
    release: Release
    at: float | None = None


class StageView(View, frozen=True, kw_only=True):
    """One stage of a run with its jobs; `jobs` is empty in `StageChanged` events."""

    name: str
    status: ExecutionStatus
    started_at: float | None = None
    finished_at: float | None = None
    jobs: list[JobView] = []


class RunSummary(View, frozen=True, kw_only=True):
    """One line of the list of runs. `counts` is jobs by status; `warnings`: a job with allowed failure failed.

    `trigger`, `event` and `fork` are those of its `Source`.
    """

    id: int
    name: str
    status: ExecutionStatus
    project: str = ""
    ref: str = ""
    sha: str = ""
    title: str = ""
    warnings: bool = False
    counts: dict[str, int] = {}
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    parent: ParentJob | None = None
    trigger: int | None = None
    event: str = ""
    fork: bool = False


class RunView(RunSummary, frozen=True, kw_only=True):
    """A run with its stages and jobs."""

    stages: list[StageView] = []


class Capability(str, Enum):
    """A capability of an executor; each stands for rows of the contract suite that it must pass."""

    SCRIPTS = "scripts"  # runs a job's scripts; its exit code is the script's
    HOLD = "hold"  # keeps a started job at its gate, so that opening it costs nothing
    FILES = "files"  # provides workspace and artifacts, collects artifacts and caches
    STOP = "stop"  # stops a script with grace; after_script still runs
    RECOVERY = "recovery"  # jobs survive the daemon, and the next one finds them
    SERVICES = "services"  # runs services beside a job
    HEALTH_CHECKS = "health-checks"  # waits until a service's own health check passes
    LIMITS = "limits"  # bounds a job's CPUs and memory
    LEASES = "leases"  # stops a job by itself when its lease is not renewed
    COMMANDS = "commands"  # runs commands of people in a job's container, and keeps it after the job's end


class ExecutorInfo(View, frozen=True, kw_only=True):
    """A worker's executor: its kind, a line about its engine for people, and its capabilities."""

    kind: str = ""
    engine: str = ""
    capabilities: list[Capability] = []


class WorkerView(View, frozen=True, kw_only=True):
    """One worker. `running` jobs take slots, at most `slots`; `waiting` ones wait there for their needs or a slot.

    `kept` are the ended jobs whose containers it keeps, as `RUN/JOB`.
    """

    name: str
    status: WorkerStatus
    slots: int
    running: int = 0
    waiting: int = 0
    labels: list[str] = []
    last_seen: float | None = None
    jobs: list[str] = []
    kept: list[str] = []
    executor: ExecutorInfo = ExecutorInfo()


class AttemptTests(View, frozen=True, kw_only=True):
    """The results of the tests of an attempt, packed (`protocol/test_results.py`). `at` is when its run was created.

    `files` identifies the files that the run was started with: equal for equal ones, also if they differ from `sha`.
    """

    run: int
    job_id: int
    job: str
    attempt: int
    project: str
    ref: str
    sha: str
    files: str
    at: float | None
    results: bytes


class StoryLine(View, frozen=True, kw_only=True):
    """One event in a job's story, for `show --why`."""

    at: float
    job: str
    attempt: str | None
    text: str
