"""The engine's state: runs, stages, jobs, attempts and workers. Data only, mutable, owned by the engine.

The store writes these objects as rows and restores them after a restart. Times named `..._at` are wall clock (shown to
people, never compared); times named `..._mono` are monotonic seconds since the machine's boot (compared, and never
stored without the boot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protocol.messages import Source
from protocol.plan import JobPlan, Plan, Variable
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import ArtifactRef, ExecutorInfo, JUnitSummary, ParentJob
from protocol.workspace import Workspace

NO_ARTIFACTS: Sequence[ArtifactRef] = []
NO_VALUES: Mapping[str, str] = {}
NO_VARIABLES: Sequence[Variable] = []
NO_RUNS: Sequence[int] = []
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
    log_length: int | None = None  # set by the final status
    assigned_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


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
    automatic_retries: int = 0  # of plan.retry.max, since the last manual retry
    child_runs: Sequence[int] = field(default_factory=lambda: NO_RUNS)  # that its trigger has started, oldest first
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
    status: ExecutionStatus = ExecutionStatus.CREATED
    canceling: bool = False
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


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
