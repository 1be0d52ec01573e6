"""Messages between a worker and the coordinator, by sender."""

from __future__ import annotations

import msgspec

from protocol.messages.commands import KeptAttempt
from protocol.messages.shared import Message
from protocol.names import AttemptId
from protocol.plan import JobPlan, Keep, Release, Variable
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import (
    ArtifactRef,
    ExecutorInfo,
    JUnitSummary,
    Pages,
)
from protocol.workspace import Workspace

# --- worker -> coordinator --------------------------------------------------------------------------------------------

MOST_STATUSES = 500


class HeldAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a worker, with a container or an unacknowledged final status."""

    attempt: str
    status: ExecutionStatus


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """A worker's first frame on a connection, and again whenever the coordinator's epoch changes."""

    protocol: int
    name: str
    session: str
    labels: list[str] = msgspec.field(default_factory=list)
    run_untagged: bool = True
    slots: int = 1
    executor: ExecutorInfo = ExecutorInfo()
    attempts: list[HeldAttempt] = msgspec.field(default_factory=list)


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Sent every `Welcome.heartbeat` seconds by the worker's main loop; any other frame counts as one too.

    `attempts` are all attempts at the worker, as in its hello; the coordinator reconciles differences, whichever frame
    was lost or never sent. None: not reported. `kept` are all ended attempts whose containers are kept here.
    """

    disk_low: bool = False
    attempts: list[HeldAttempt] | None = None
    kept: list[KeptAttempt] | None = None


class JobStatus(Message, frozen=True, kw_only=True, tag="job_status"):
    """The status of an attempt. `seq` counts from 1 per attempt; resent until acknowledged.

    `ago` is its age in seconds, so that clocks of hosts need not agree. A final status carries `log_length`, the bytes
    of the whole log; the coordinator accepts it only after storing all of them. `test_results` is packed
    (`protocol/test_results.py`). `kept`: the attempt's container stays for so many seconds.
    """

    attempt: str
    seq: int
    status: ExecutionStatus
    ago: float = 0.0
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    log_length: int | None = None
    artifacts: list[ArtifactRef] = msgspec.field(default_factory=list)
    dotenv: dict[str, str] = msgspec.field(default_factory=dict)
    tests: JUnitSummary | None = None
    test_results: bytes = b""
    reports: JobReports | None = None
    coverage: float | None = None
    release: Release | None = None
    pages: Pages | None = None
    kept: float | None = None


class JobStatuses(Message, frozen=True, kw_only=True, tag="job_statuses"):
    """At most MOST_STATUSES statuses of one or more attempts, in order, sent together."""

    statuses: list[JobStatus]


class LogChunk(Message, frozen=True, kw_only=True, tag="log_chunk"):
    """(+payload) Bytes of an attempt's log from `offset` on. `stream` is "job" or "service-ALIAS".

    `times` says when the worker has read them (`protocol.log_times.encode`, from `offset` on).
    """

    attempt: str
    offset: int
    stream: str = "job"
    times: bytes = b""


class JobReturned(Message, frozen=True, kw_only=True, tag="job_returned"):
    """The worker returned an attempt before its script began: after `revoke_job`, or because it drains.

    Nothing of it is left on the worker, so the coordinator may assign it to another one.
    """

    attempt: str


class GetJobExecution(Message, frozen=True, kw_only=True, tag="get_job_execution"):
    """Requests the assignment of an attempt whose container was found after a restart. Answer: JobExecution."""

    id: int
    attempt: str


class GetJobDependencies(Message, frozen=True, kw_only=True, tag="get_job_dependencies"):
    """Requests an attempt's dependencies with their statuses. Answer: JobDependencies."""

    id: int
    attempt: str


class GetJobStatus(Message, frozen=True, kw_only=True, tag="get_job_status"):
    """Requests an attempt's status at the coordinator, and whether it is still wanted. Answer: JobStatusReply."""

    id: int
    attempt: str


class Goodbye(Message, frozen=True, kw_only=True, tag="goodbye"):
    """A worker's orderly exit. `keeps` are attempts whose containers continue, to be adopted after its restart."""

    keeps: list[str] = msgspec.field(default_factory=list)


# --- coordinator -> worker --------------------------------------------------------------------------------------------


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One job that an attempt depends on, as the coordinator sees it.

    `satisfied`: this dependency no longer keeps the attempt from starting (only the coordinator knows allow_failure and
    rules). `artifacts` and `variables` are the job's outputs for this attempt.
    """

    job: str
    status: ExecutionStatus
    satisfied: bool
    artifacts: list[ArtifactRef] = msgspec.field(default_factory=list)
    variables: dict[str, str] = msgspec.field(default_factory=dict)


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The complete description of an attempt for its worker.

    `variables` are the coordinator's own of this run and job (CI_PIPELINE_ID, ...), between `predefined` and the
    job's. A job with unsatisfied `dependencies` is held until they are satisfied.
    `secrets` are added on sending and stored nowhere else; they come between the job's variables and the run's.
    `lease` is set for attempts that move: stop after this many seconds without contact to the coordinator.
    `to_come`: the number of other unfinished jobs of the run, by which a worker decides what is worth preparing.
    `keep`: the container is to stay after the end.
    """

    attempt: AttemptId
    run: int
    job_id: int
    number: int
    project: str
    project_dir: str
    job: JobPlan
    predefined: list[Variable]
    variables: list[Variable]
    run_variables: list[Variable]
    secrets: list[Variable] = msgspec.field(default_factory=list)
    workspace: Workspace | None = None
    default_image: str | None = None
    dependencies: list[Dependency] = msgspec.field(default_factory=list)
    log_limit: int = 0
    lease: float | None = None
    to_come: int = 0
    keep: Keep | None = None


class AssignJob(Message, frozen=True, kw_only=True, tag="assign_job"):
    """Assigns an attempt to a worker. Idempotent: a worker ignores an attempt that it already has."""

    assignment: Assignment


class DependencyUpdate(Message, frozen=True, kw_only=True, tag="dependency_update"):
    """Notifies that a dependency of a held attempt has ended (pushed, not polled)."""

    attempt: str
    dependency: Dependency


class CancelJob(Message, frozen=True, kw_only=True, tag="cancel_job"):
    """Stop an attempt: SIGTERM, grace, SIGKILL; run after_script; then report a final `canceled` status."""

    attempt: str


class RevokeJob(Message, frozen=True, kw_only=True, tag="revoke_job"):
    """Return an attempt whose script has not begun, with JobReturned; otherwise ignore this."""

    attempt: str


class DiscardAttempt(Message, frozen=True, kw_only=True, tag="discard_attempt"):
    """The attempt is no longer wanted: remove everything of it, report nothing."""

    attempt: str


class Ack(Message, frozen=True, kw_only=True, tag="ack"):
    """Acknowledges durable data of an attempt: the newest status `seq`, and the log bytes stored, per stream."""

    attempt: str
    status_seq: int | None = None
    log_offset: int | None = None
    stream: str = "job"


class Batch(Message, frozen=True, kw_only=True, tag="batch"):
    """A turn's messages to one worker, in order. None of them has a payload or is a batch itself."""

    messages: list[msgspec.Raw]


class Drain(Message, frozen=True, kw_only=True, tag="drain"):
    """Accept no new jobs (`on`), or accept them again."""

    on: bool = True


class JobExecution(Message, frozen=True, kw_only=True, tag="job_execution"):
    """Answer to GetJobExecution; None if the attempt is no longer wanted."""

    id: int
    assignment: Assignment | None


class JobDependencies(Message, frozen=True, kw_only=True, tag="job_dependencies"):
    """Answer to GetJobDependencies."""

    id: int
    attempt: str
    dependencies: list[Dependency]


class JobStatusReply(Message, frozen=True, kw_only=True, tag="job_status_reply"):
    """Answer to GetJobStatus: `wanted` is false for an attempt that has ended, is superseded or another worker's.

    `log_offset` and `status_seq` are durable; a restarted worker resumes from them.
    """

    id: int
    attempt: str
    wanted: bool
    status: ExecutionStatus | None
    log_offset: int = 0
    status_seq: int = 0
