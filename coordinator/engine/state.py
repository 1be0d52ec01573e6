"""The engine's state: runs, stages, jobs, attempts and workers. Data only, mutable, owned by the engine.

The store writes these objects as rows and restores them after a restart. Times named `..._at` are wall clock (shown to
people, never compared); times named `..._mono` are monotonic seconds since the machine's boot (compared, and never
stored without the boot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from protocol.messages import Dependency, Origin, Source
from protocol.plan import InputValue, JobPlan, Plan, Release, Variable
from protocol.reports import JobReports
from protocol.statuses import EnvironmentStatus, ExecutionStatus, FailureReason
from protocol.views import ArtifactRef, Deployment, ExecutorInfo, JUnitSummary, Pages, ParentJob
from protocol.workspace import Workspace

NO_ARTIFACTS: Sequence[ArtifactRef] = []
NO_VALUES: Mapping[str, str] = {}
NO_INPUTS: Mapping[str, InputValue] = {}
NO_VARIABLES: Sequence[Variable] = []
NO_RUNS: Sequence[int] = []
NO_WORKSPACES: Mapping[int, Workspace | None] = {}
NO_PROJECTS: Sequence[Origin] = []
"""Shared empty defaults, which most jobs have: separate ones would make up a seventh of a job's memory."""


@dataclass(slots=True, frozen=True)
class Now:
    """The time of a turn, read once by the server: the wall clock and the monotonic one, both in seconds.

    `boot` identifies the boot that `mono` counts from, across processes; empty if unknown.
    """

    wall: float
    mono: float
    boot: str = ""


@dataclass(slots=True, eq=False)
class AttemptState:
    """One execution of a job by one worker."""

    id: str  # "JOB_ID.NUMBER", unique in a coordinator's database
    job_id: int
    number: int  # counts from 1
    worker: str  # empty after it was returned, until it is assigned again
    status: ExecutionStatus = ExecutionStatus.PENDING  # PENDING: sent, not yet accepted
    status_seq: int = 0  # newest status frame applied
    released: bool = False  # the worker may start the script: all needs are met
    canceling: bool = False  # CancelJob was sent; a final status is due
    revoking: bool = False  # RevokeJob was sent; JobReturned or a running status is due
    sent_mono: float = 0.0  # when AssignJob or CancelJob was last sent
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    artifacts: Sequence[ArtifactRef] = field(default_factory=lambda: NO_ARTIFACTS)
    dotenv: Mapping[str, str] = field(default_factory=lambda: NO_VALUES)
    tests: JUnitSummary | None = None
    reports: JobReports | None = None
    coverage: float | None = None
    release: Release | None = None
    pages: Pages | None = None
    inputs: Mapping[str, InputValue] = field(default_factory=lambda: NO_INPUTS)  # the values of all the job's inputs
    log_length: int | None = None  # set by the final status
    assigned_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


class External(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job has of other pipelines, as it was found when the job was queued: what its `external_needs` have left,
    or the run whose status it takes.
    """

    sources: list[Dependency] = []
    mirrors: int | None = None


@dataclass(slots=True, eq=False)
class JobState:
    """One job of a run. `attempts` are oldest first; the last one is current."""

    id: int
    run_id: int
    stage_index: int
    plan: JobPlan
    status: ExecutionStatus = ExecutionStatus.CREATED
    attempts: list[AttemptState] = field(default_factory=list)
    pending_reason: str | None = None
    failure_reason: FailureReason | None = None  # set without an attempt too: stuck, missing dependency
    message: str | None = None
    allowed_to_fail: bool = False  # its failure is allowed: the stage continues
    played: bool = False  # a manual or delayed job that was started
    play_variables: Sequence[Variable] = field(default_factory=lambda: NO_VARIABLES)
    inputs: Mapping[str, InputValue] = field(default_factory=lambda: NO_INPUTS)  # those that a user has set
    automatic_retries: int = 0  # of plan.retry.max, since the last manual retry
    child_runs: Sequence[int] = field(default_factory=lambda: NO_RUNS)  # that its trigger has started, oldest first
    external: External | None = None  # None: not looked for yet
    own_workspaces: Mapping[int, Workspace | None] = field(default_factory=lambda: NO_WORKSPACES)
    """Files in place of the run's, by the number of the first attempt that gets them; None: the run's again."""
    not_before_at: float | None = None  # delayed jobs: wall time when the delay ends
    not_before_mono: float | None = None  # the same by the monotonic clock of `not_before_boot`
    not_before_boot: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @property
    def attempt(self) -> AttemptState | None:
        """The current attempt, if any."""
        return self.attempts[-1] if self.attempts else None

    @property
    def next_number(self) -> int:
        """The number of the next attempt."""
        return self.attempts[-1].number + 1 if self.attempts else 1

    def own_workspace(self, number: int) -> Workspace | None:
        """The files that attempt `number` gets in place of the run's; None: the run's."""
        first = max((first for first in self.own_workspaces if first <= number), default=None)
        return None if first is None else self.own_workspaces[first]


@dataclass(slots=True, eq=False)
class StageState:
    """One stage of a run."""

    run_id: int
    index: int
    name: str
    jobs: list[JobState]
    status: ExecutionStatus = ExecutionStatus.CREATED
    started_at: float | None = None
    finished_at: float | None = None


@dataclass(slots=True, eq=False)
class RunState:
    """One run. `token` is chosen by the submitting client and identifies a resent submission."""

    id: int
    token: str
    plan: Plan
    source: Source
    stages: list[StageState]
    workspace: Workspace | None = None
    parent: ParentJob | None = None  # the job that triggered it
    projects: Sequence[Origin] = field(default_factory=lambda: NO_PROJECTS)  # brought along by the client
    status: ExecutionStatus = ExecutionStatus.CREATED
    canceling: bool = False
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


def goes_to_worker(plan: JobPlan) -> bool:
    """Whether a worker runs the job: not if it starts another run, or takes the status of one."""
    return plan.trigger is None and not plan.mirrors


def is_downstream(run: RunState) -> bool:
    """Whether a job of another project has started this run. Such a run is no child: it has a life of its own."""
    return run.parent is not None and run.parent.project != ""


@dataclass(slots=True, eq=False)
class EnvironmentState:
    """A deployment target of a project that is not stopped; one that is stopped is only in the store."""

    project: str
    name: str
    slug: str
    tier: str
    deployment: Deployment  # the last one
    url: str = ""
    status: EnvironmentStatus = EnvironmentStatus.AVAILABLE
    stop_jobs: list[str] = field(default_factory=list)  # of the last deployment's run
    stopping: list[int] = field(default_factory=list)  # jobs begun since the last deployment whose success stops it
    auto_stop_in: float | None = None  # seconds, of the last deployment
    auto_stop_at: float | None = None  # wall time when it is to be stopped
    auto_stop_mono: float | None = None  # the same by the monotonic clock of `auto_stop_boot`
    auto_stop_boot: str | None = None
    stopped_at: float | None = None
    message: str | None = None  # why it was stopped, or why not

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it."""
        return self.project, self.name


@dataclass(slots=True, frozen=True)
class KeptContainer:
    """The container of an attempt that has ended, kept by its worker until `until` (wall time)."""

    attempt: str
    run: int
    job: str
    worker: str
    until: float


@dataclass(slots=True, eq=False)
class WorkerState:
    """One worker that has said hello at least once."""

    name: str
    labels: list[str] = field(default_factory=list)
    run_untagged: bool = True
    slots: int = 1
    executor: ExecutorInfo = ExecutorInfo()  # noqa: RUF009  # immutable
    online: bool = False
    draining: bool = False
    disk_low: bool = False
    last_seen_at: float | None = None
    last_seen_mono: float = 0.0
    attempts: dict[str, AttemptState] = field(default_factory=dict)  # its unfinished attempts, by id
    active: int = 0  # released ones of `attempts`; each takes a slot, or waits there for one
    held: int = 0  # those of `attempts` held ahead of their needs
