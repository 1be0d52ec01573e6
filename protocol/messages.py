"""All messages on the ROUTER/DEALER sockets, by sender. Pure data.

A message is one msgpack map, identified by its `type`. Types marked (+payload) are followed by one raw frame.
`id` matches a reply to its request; a worker's notifications have none. `attempt` is an attempt's id.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from protocol.names import AttemptId, CoordinatorId
from protocol.plan import JobPlan, Plan, Variable
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import (
    ArtifactRef,
    AttemptView,
    ExecutorInfo,
    JUnitSummary,
    RunSummary,
    RunView,
    StoryLine,
    WorkerView,
)
from protocol.workspace import GitWorkspace, Workspace


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all messages."""


# --- worker -> coordinator -------------------------------------------------------------------------------------------


class HeldAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a worker, with a container or an unacknowledged final status."""

    attempt: str
    status: ExecutionStatus


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """A worker's first frame on a connection, and again whenever the coordinator's epoch changes."""

    protocol: int
    name: str
    session: str
    labels: list[str] = []
    run_untagged: bool = True
    slots: int = 1
    executor: ExecutorInfo = ExecutorInfo()
    attempts: list[HeldAttempt] = []


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Sent every `Welcome.heartbeat` seconds by the worker's main loop; any other frame counts as one too.

    `attempts` are all attempts at the worker, as in its hello; the coordinator reconciles differences, whichever frame
    was lost or never sent. None: not reported.
    """

    disk_low: bool = False
    attempts: list[HeldAttempt] | None = None


class JobStatus(Message, frozen=True, kw_only=True, tag="job_status"):
    """The status of an attempt. `seq` counts from 1 per attempt; resent until acknowledged.

    `ago` is its age in seconds, so that clocks of hosts need not agree. A final status carries `log_length`, the bytes
    of the whole log; the coordinator accepts it only after storing all of them.
    """

    attempt: str
    seq: int
    status: ExecutionStatus
    ago: float = 0.0
    exit_code: int | None = None
    failure_reason: FailureReason | None = None
    message: str | None = None
    log_length: int | None = None
    artifacts: list[ArtifactRef] = []
    dotenv: dict[str, str] = {}
    tests: JUnitSummary | None = None
    coverage: float | None = None


MOST_STATUSES = 500
MOST_WORKERS_ASKED = 500


class JobStatuses(Message, frozen=True, kw_only=True, tag="job_statuses"):
    """At most MOST_STATUSES statuses of one or more attempts, in order, sent together."""

    statuses: list[JobStatus]


class LogChunk(Message, frozen=True, kw_only=True, tag="log_chunk"):
    """(+payload) Bytes of an attempt's log from `offset` on. `stream` is "job" or "service-ALIAS"."""

    attempt: str
    offset: int
    stream: str = "job"


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


class GetGoneWorkers(Message, frozen=True, kw_only=True, tag="get_gone_workers"):
    """Requests those of the named workers, at most MOST_WORKERS_ASKED, that are gone for good. Answer: GoneWorkers.

    Workers and clients may send it.
    """

    id: int
    workers: list[str]


class BlobGet(Message, frozen=True, kw_only=True, tag="blob_get"):
    """Requests bytes of a blob. Answer: BlobData (+payload). Workers and clients may send it."""

    id: int
    digest: str
    offset: int
    length: int


class BlobPut(Message, frozen=True, kw_only=True, tag="blob_put"):
    """(+payload) Bytes of a blob of `size` bytes whose sha256 is `digest`, in order. Answer: BlobState.

    An empty payload only requests the number of bytes received. Workers and clients may send it.
    """

    id: int
    digest: str
    size: int
    offset: int


class Goodbye(Message, frozen=True, kw_only=True, tag="goodbye"):
    """A worker's orderly exit. `keeps` are attempts whose containers continue, to be adopted after its restart."""

    keeps: list[str] = []


# --- coordinator -> worker -------------------------------------------------------------------------------------------


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One job that an attempt depends on, as the coordinator sees it.

    `satisfied`: this dependency no longer keeps the attempt from starting (only the coordinator knows allow_failure and
    rules). `artifacts` and `variables` are the job's outputs for this attempt.
    """

    job: str
    status: ExecutionStatus
    satisfied: bool
    artifacts: list[ArtifactRef] = []
    variables: dict[str, str] = {}


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """The complete description of an attempt for its worker.

    `variables` are the coordinator's own of this run and job (CI_PIPELINE_ID, ...), between `predefined` and the
    job's. A job with unsatisfied `dependencies` is held until they are satisfied.
    `secrets` are added on sending and stored nowhere else; they come between the job's variables and the run's.
    `lease` is set for attempts that move: stop after this many seconds without contact to the coordinator.
    `to_come`: the number of other unfinished jobs of the run, by which a worker decides what is worth preparing.
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
    secrets: list[Variable] = []
    workspace: Workspace | None = None
    default_image: str | None = None
    dependencies: list[Dependency] = []
    log_limit: int = 0
    lease: float | None = None
    to_come: int = 0


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Answer to a hello (worker or client). `feed` is the XPUB address to connect to.

    `epoch` is new with each start of the coordinator; `coordinator` is its lasting id. For a worker, `session` is that
    of the answered hello, and `keep` lists those of its attempts that are still wanted; the worker removes all others.
    """

    protocol: int
    coordinator: CoordinatorId
    epoch: str
    feed: str
    heartbeat: float = 5.0
    session: str = ""
    keep: list[str] = []
    draining: bool = False


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


class GoneWorkers(Message, frozen=True, kw_only=True, tag="gone_workers"):
    """Answer to GetGoneWorkers: those that have been silent for long and have no unfinished attempts.

    Their leftovers may be removed.
    """

    id: int
    workers: list[str]


class BlobData(Message, frozen=True, kw_only=True, tag="blob_data"):
    """(+payload) Answer to BlobGet; `size` is the blob's total size."""

    id: int
    digest: str
    offset: int
    size: int


class Workspaces(Message, frozen=True, kw_only=True, tag="workspaces"):
    """Answer to GetWorkspaces, newest first, without repetitions: a client may build a new one on their packs."""

    id: int
    workspaces: list[GitWorkspace]


class BlobState(Message, frozen=True, kw_only=True, tag="blob_state"):
    """Answer to BlobPut: the number of bytes `received`; `complete` once all arrived and the digest matched."""

    id: int
    digest: str
    received: int
    complete: bool


# --- client -> coordinator -------------------------------------------------------------------------------------------


class ClientHello(Message, frozen=True, kw_only=True, tag="client_hello"):
    """A client's first frame. Answer: Welcome."""

    id: int
    protocol: int
    name: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a run, for people: pipeline file, branch, commit and user."""

    file: str = ""
    ref: str = ""
    sha: str = ""
    title: str = ""
    user: str = ""


class SubmitRun(Message, frozen=True, kw_only=True, tag="submit_run"):
    """Start a run. Its workspace's blobs must have been uploaded. Answer: RunSubmitted.

    `token` is chosen by the client and makes the request idempotent: the same token yields the same run.
    """

    id: int
    token: str
    plan: Plan
    workspace: Workspace | None = None
    source: Source = Source()


class GetWorkspaces(Message, frozen=True, kw_only=True, tag="get_workspaces"):
    """The newest git workspaces of a project's runs whose packs are all stored. Answer: Workspaces."""

    id: int
    project: str
    limit: int = 8


class ListRuns(Message, frozen=True, kw_only=True, tag="list_runs"):
    """Newest first, ids below `before` if given. Answer: RunList."""

    id: int
    limit: int = 100
    before: int | None = None


class GetRun(Message, frozen=True, kw_only=True, tag="get_run"):
    """Answer: RunDetail."""

    id: int
    run: int


class GetJob(Message, frozen=True, kw_only=True, tag="get_job"):
    """One job's attempts and story. Answer: JobDetail."""

    id: int
    run: int
    job: str


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Cancel a run, or one job of it. Answer: Done."""

    id: int
    run: int
    job: str | None = None


class Retry(Message, frozen=True, kw_only=True, tag="retry"):
    """Retry all jobs that did not succeed, only the failed ones, or one job. Answer: Done."""

    id: int
    run: int
    job: str | None = None
    failed_only: bool = False


class Play(Message, frozen=True, kw_only=True, tag="play"):
    """Start a manual or delayed job. Answer: Done."""

    id: int
    run: int
    job: str
    variables: list[Variable] = []


class GetLog(Message, frozen=True, kw_only=True, tag="get_log"):
    """Bytes of a job's log. `attempt` is its number; None is the current one. A negative `offset` counts from the end.

    Answer: LogData (+payload).
    """

    id: int
    run: int
    job: str
    attempt: int | None = None
    stream: str = "job"
    offset: int = 0
    length: int = 1 << 20


class ListWorkers(Message, frozen=True, kw_only=True, tag="list_workers"):
    """Answer: WorkerList."""

    id: int


class DrainWorker(Message, frozen=True, kw_only=True, tag="drain_worker"):
    """Start (`on`) or end draining a worker, which then gets no new jobs. Answer: Done."""

    id: int
    worker: str
    on: bool = True


class GetSnapshot(Message, frozen=True, kw_only=True, tag="snapshot"):
    """Requests the state to which the feed's events apply. Subscribe first. Answer: Snapshot.

    It has summaries of the `runs` newest runs, and `run` in full if given.
    """

    id: int
    runs: int = 200
    run: int | None = None


# --- coordinator -> client -------------------------------------------------------------------------------------------


class RunSubmitted(Message, frozen=True, kw_only=True, tag="run_submitted"):
    """Answer to SubmitRun; the run is durable."""

    id: int
    run: int


class RunList(Message, frozen=True, kw_only=True, tag="run_list"):
    """Answer to ListRuns."""

    id: int
    runs: list[RunSummary]


class RunDetail(Message, frozen=True, kw_only=True, tag="run_detail"):
    """Answer to GetRun."""

    id: int
    run: RunView


class JobDetail(Message, frozen=True, kw_only=True, tag="job_detail"):
    """Answer to GetJob. Masked values in `job` are replaced.

    `services` are the current attempt's services with a log, whose stream is "service-NAME".
    """

    id: int
    job: JobPlan
    attempts: list[AttemptView]
    story: list[StoryLine]
    services: list[str] = []


class LogData(Message, frozen=True, kw_only=True, tag="log_data"):
    """(+payload) Answer to GetLog. `size` is the stored size; `complete`: the log will not grow."""

    id: int
    attempt_id: str | None
    offset: int
    size: int
    complete: bool


class WorkerList(Message, frozen=True, kw_only=True, tag="worker_list"):
    """Answer to ListWorkers."""

    id: int
    workers: list[WorkerView]


class Snapshot(Message, frozen=True, kw_only=True, tag="snapshot_state"):
    """Answer to GetSnapshot: the state as of feed event `seq` of `epoch`."""

    id: int
    epoch: str
    seq: int
    runs: list[RunSummary]
    workers: list[WorkerView]
    run: RunView | None = None


class Done(Message, frozen=True, kw_only=True, tag="done"):
    """Answer to a command without other results. `count` is the number of objects affected."""

    id: int
    count: int = 0


class Error(Message, frozen=True, kw_only=True, tag="error"):
    """Answer to a failed request. `code` is a short name; `message` is for people."""

    id: int | None = None
    code: Literal[
        "bad_frame",
        "unknown_type",
        "bad_field",
        "too_large",
        "bad_version",
        "not_found",
        "bad_request",
        "not_introduced",
        "not_yours",
        "forbidden",
        "revoked",
        "unavailable",
        "internal",
    ]
    message: str


FromWorker = (
    Hello
    | Heartbeat
    | JobStatus
    | JobStatuses
    | LogChunk
    | JobReturned
    | GetJobExecution
    | GetJobDependencies
    | GetJobStatus
    | Goodbye
)
FromBoth = BlobGet | BlobPut | GetGoneWorkers
FromClient = (
    ClientHello
    | SubmitRun
    | GetWorkspaces
    | ListRuns
    | GetRun
    | GetJob
    | Cancel
    | Retry
    | Play
    | GetLog
    | ListWorkers
    | DrainWorker
    | GetSnapshot
)
ToCoordinator = FromWorker | FromBoth | FromClient
"""All messages that the coordinator's ROUTER accepts, except administrative ones."""
ToWorker = (
    Welcome
    | AssignJob
    | DependencyUpdate
    | CancelJob
    | RevokeJob
    | DiscardAttempt
    | Ack
    | Batch
    | Drain
    | JobExecution
    | JobDependencies
    | JobStatusReply
    | GoneWorkers
    | BlobData
    | BlobState
    | Error
)
ToClient = (
    Welcome
    | RunSubmitted
    | Workspaces
    | RunList
    | RunDetail
    | JobDetail
    | LogData
    | WorkerList
    | GoneWorkers
    | Snapshot
    | Done
    | BlobData
    | BlobState
    | Error
)
PAYLOAD_TYPES = (LogChunk, BlobPut, BlobData, LogData)
"""Messages followed by one raw frame."""
