"""Messages between a client and the coordinator, by sender."""

from __future__ import annotations

import msgspec

from protocol.log_lines import Line
from protocol.messages.shared import Message
from protocol.plan import IncludeOptions, InputValue, JobPlan, Plan, Variable
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus
from protocol.views import (
    AttemptTests,
    AttemptView,
    EnvironmentView,
    ReleaseView,
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
    """The origin of a run: pipeline file, branch, commit and user, for people.

    Of a run that a trigger has started, `trigger` is its id and `event` its CI_PIPELINE_SOURCE. `fork`: its commit is
    one of another repository, so it gets no secrets. `protected` tells whether its branch or tag is protected; only a
    run that is gets secrets that are restricted to branches. None: nobody has said, as of a run from a checkout.
    """

    file: str = ""
    ref: str = ""
    sha: str = ""
    title: str = ""
    user: str = ""
    trigger: int | None = None
    event: str = ""
    fork: bool = False
    protected: bool | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What pipelines of a project are made of: its files, its facts and its own variables.

    `file` is the pipeline file as messages name it, a path in the workspace. `predefined` are the facts of project and
    commit. `default_image` and `includes` are options of the run that the rest is from.
    """

    project: str
    file: str
    predefined: list[Variable] = msgspec.field(default_factory=list)
    project_variables: list[Variable] = msgspec.field(default_factory=list)
    default_image: str | None = None
    includes: IncludeOptions = IncludeOptions()
    source: Source = Source()
    workspace: Workspace | None = None


class SubmitRun(Message, frozen=True, kw_only=True, tag="submit_run"):
    """Start a run. The blobs of its workspace, and of those of `projects`, must have been uploaded. Answer:
    RunSubmitted.

    `projects` are those that a job of the run, or of a run that it starts, may start a pipeline of; others must be
    known to the coordinator by a run of theirs.

    `token` is chosen by the client and makes the request idempotent: the same token yields the same run. The run of a
    trigger, whose id is in `source`, has the token `protocol.projects.trigger_token` and ends the trigger.
    """

    id: int
    token: str
    plan: Plan
    workspace: Workspace | None = None
    source: Source = Source()
    projects: list[Origin] = msgspec.field(default_factory=list)


class GetWorkspaces(Message, frozen=True, kw_only=True, tag="get_workspaces"):
    """The newest git workspaces of a project's runs whose packs are all stored. Answer: Workspaces."""

    id: int
    project: str
    limit: int = 8


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs a list is about: all conditions must hold. Without `statuses`, any holds.

    `ref` is a branch or tag; `job` is the name of a job that they have.
    """

    statuses: list[ExecutionStatus] = msgspec.field(default_factory=list)
    ref: str | None = None
    project: str | None = None
    job: str | None = None


class ListRuns(Message, frozen=True, kw_only=True, tag="list_runs"):
    """Newest first, ids below `before` if given. Answer: RunList."""

    id: int
    limit: int = 100
    before: int | None = None
    only: RunFilter = RunFilter()


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
    """Retry all jobs that did not succeed, only the failed ones, or one job. Answer: Done.

    `inputs` are new values of one job's inputs, as the user wrote them. With `workspace`, one job gets these files of
    `project` in place of its run's; their blobs must have been uploaded.
    """

    id: int
    run: int
    job: str | None = None
    failed_only: bool = False
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    workspace: Workspace | None = None
    project: str = ""


class Play(Message, frozen=True, kw_only=True, tag="play"):
    """Start a manual or delayed job, with additional variables and new values of its inputs. Answer: Done."""

    id: int
    run: int
    job: str
    variables: list[Variable] = msgspec.field(default_factory=list)
    inputs: dict[str, str] = msgspec.field(default_factory=dict)


class GetLog(Message, frozen=True, kw_only=True, tag="get_log"):
    """Bytes of a job's log. `attempt` is its number; None is the current one. A negative `offset` counts from the end.

    `times` asks for the times of these bytes too. Answer: LogData (+payload).
    """

    id: int
    run: int
    job: str
    attempt: int | None = None
    stream: str = "job"
    offset: int = 0
    length: int = 1 << 20
    times: bool = False


class FindLines(Message, frozen=True, kw_only=True, tag="find_lines"):
    """Lines of a job's log that match `pattern` (RE2; empty: all) and were read `since` a time or later.

    The search goes on from the line at `offset`; `backwards`, from the line that ends there (None: the last one), until
    it has found `limit` lines. `since` is in milliseconds since 1970. `whole`: an unfinished last line counts too.
    Answer: FoundLines, after a bounded part of the log.
    """

    id: int
    run: int
    job: str
    attempt: int | None = None
    stream: str = "job"
    offset: int | None = None
    backwards: bool = False
    pattern: str = ""
    since: int | None = None
    limit: int | None = None
    whole: bool = False


class ListWorkers(Message, frozen=True, kw_only=True, tag="list_workers"):
    """Answer: WorkerList."""

    id: int


class ListEnvironments(Message, frozen=True, kw_only=True, tag="list_environments"):
    """All environments, or those of a project, the latest deployment first. Answer: EnvironmentList."""

    id: int
    project: str | None = None
    limit: int = 1000


class StopEnvironment(Message, frozen=True, kw_only=True, tag="stop_environment"):
    """Play the jobs that stop an environment; one without any is stopped at once. Answer: Done, with their number."""

    id: int
    name: str
    project: str | None = None
    """Needed only if environments of several projects have this name."""


class ListReleases(Message, frozen=True, kw_only=True, tag="list_releases"):
    """All releases, or those of a project, newest first. Answer: ReleaseList."""

    id: int
    project: str | None = None
    limit: int = 100


class ListTestResults(Message, frozen=True, kw_only=True, tag="list_test_results"):
    """The results of tests of the newest jobs that have any, with ids below `before` if given. Answer: TestResultList.

    `project`, `ref` and `job` select the jobs by their project, branch or tag, and name.
    """

    id: int
    project: str | None = None
    ref: str | None = None
    job: str | None = None
    before: int | None = None


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
    `inputs` are the values that a new attempt would get. `environment` is the job's, if anything was deployed to it.
    `checkout` are the run's own variables that decide what a checkout of the project contains.
    """

    id: int
    job: JobPlan
    attempts: list[AttemptView]
    story: list[StoryLine]
    services: list[str] = msgspec.field(default_factory=list)
    inputs: dict[str, InputValue] = msgspec.field(default_factory=dict)
    reports: JobReports | None = None
    environment: EnvironmentView | None = None
    checkout: list[Variable] = msgspec.field(default_factory=list)


class LogData(Message, frozen=True, kw_only=True, tag="log_data"):
    """(+payload) Answer to GetLog. `size` is the stored size; `complete`: the log will not grow.

    `times` are those pages of the log's index that tell the times of the payload (`protocol.log_times.marks_of_pages`).
    """

    id: int
    attempt_id: str | None
    offset: int
    size: int
    complete: bool
    times: bytes = b""


class FoundLines(Message, frozen=True, kw_only=True, tag="found_lines"):
    """Answer to FindLines: lines in the log's order. The search continues at `next`, unless it is `done`.

    `end` is the offset after the last line that counts; `complete`: the log will not grow.
    """

    id: int
    attempt_id: str | None
    lines: list[Line] = msgspec.field(default_factory=list)
    next: int = 0
    done: bool = True
    end: int = 0
    complete: bool = False


class WorkerList(Message, frozen=True, kw_only=True, tag="worker_list"):
    """Answer to ListWorkers."""

    id: int
    workers: list[WorkerView]


class EnvironmentList(Message, frozen=True, kw_only=True, tag="environment_list"):
    """Answer to ListEnvironments."""

    id: int
    environments: list[EnvironmentView]


class ReleaseList(Message, frozen=True, kw_only=True, tag="release_list"):
    """Answer to ListReleases."""

    id: int
    releases: list[ReleaseView]


class TestResultList(Message, frozen=True, kw_only=True, tag="test_result_list"):
    """Answer to ListTestResults, newest jobs first, each with all of its attempts; `more`: there are older ones."""

    id: int
    attempts: list[AttemptTests]
    more: bool = False


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
