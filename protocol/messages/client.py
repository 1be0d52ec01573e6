"""Messages between a client and the coordinator, by sender."""

from __future__ import annotations

import msgspec

from protocol.messages.shared import Message
from protocol.plan import JobPlan, Plan, Variable
from protocol.reports import JobReports
from protocol.views import (
    AttemptView,
    RunSummary,
    RunView,
    StoryLine,
    WorkerView,
)
from protocol.workspace import GitWorkspace, Workspace

# --- client -> coordinator --------------------------------------------------------------------------------------------


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
    variables: list[Variable] = msgspec.field(default_factory=list)


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


# --- coordinator -> client --------------------------------------------------------------------------------------------


class Workspaces(Message, frozen=True, kw_only=True, tag="workspaces"):
    """Answer to GetWorkspaces, newest first, without repetitions: a client may build a new one on their packs."""

    id: int
    workspaces: list[GitWorkspace]


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

    `services` are the current attempt's services with a log, whose stream is "service-NAME"; `reports` are its reports.
    """

    id: int
    job: JobPlan
    attempts: list[AttemptView]
    story: list[StoryLine]
    services: list[str] = msgspec.field(default_factory=list)
    reports: JobReports | None = None


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
