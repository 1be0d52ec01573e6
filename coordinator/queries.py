"""Read-only queries, answered after a turn's commit, so that no answer contains state that could still be lost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from coordinator.channels import Channels
from coordinator.deliveries import Deliveries
from coordinator.engine.engine import Engine
from coordinator.engine.state import AttemptState, JobState, RunState
from coordinator.engine.views import attempt_view, environment_view, run_view
from coordinator.files.base import Blobs, Logs
from coordinator.log_searches import Wanted
from coordinator.projects import Projects
from coordinator.schedules import Schedules
from coordinator.store.base import RunStore
from coordinator.transport.publisher import Publisher
from coordinator.transport.turn_queue import TurnQueue
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.job_inputs import current
from protocol.names import CHUNK_BYTES
from protocol.plan import JobPlan, Plan, Variable
from protocol.statuses import ENDED
from protocol.views import EnvironmentView
from protocol.workspace import GitWorkspace

MOST_RUNS = 1000
"""Maximum runs in one answer; `before` pages to older ones."""
REMEMBERED_RUNS = 4
"""Finished runs cached in memory: a reader of one log of a run usually reads its other logs next."""
MOST_WORKSPACES = 32
"""Maximum workspaces in one answer."""
REFS_OF_A_CHECKOUT = frozenset(
    (
        "CI_COMMIT_BRANCH",
        "CI_COMMIT_TAG",
        "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    )
)
"""Variables that name the refs of a checkout, as `cli/submit/workspace/maker.py` reads them."""
MOST_WORKSPACE_BYTES = 8 << 20
"""Maximum size of an answer's workspaces; a single one may be larger."""
MASKED = "[MASKED]"
"""Shown to readers instead of a masked variable's value."""

Query = (
    m.ListRuns
    | m.GetWorkspaces
    | m.GetRun
    | m.GetJob
    | m.GetLog
    | m.FindLines
    | m.ListWorkers
    | m.ListEnvironments
    | m.ListReleases
    | m.ListTestResults
    | m.GetSnapshot
    | m.GetGoneWorkers
    | m.BlobGet
    | m.ListProjects
    | m.ShowProject
    | m.ListSchedules
    | m.ListChannels
    | m.ListDeliveries
    | m.TakeDeliveries
    | m.ListTriggers
    | m.GetTrigger
    | m.TakeTriggers
)
Answer = tuple[m.Message, bytes | None]


QueryQueue = TurnQueue[Query]
"""Pending queries."""


class Queries:
    """Reads unfinished runs from the engine's memory, everything else from the store."""

    def __init__(
        self,
        engine: Engine,
        store: RunStore,
        logs: Logs,
        blobs: Blobs,
        feed: Publisher,
        projects: Projects,
        schedules: Schedules,
        channels: Channels,
        deliveries: Deliveries,
    ) -> None:
        self._engine = engine
        self._store = store
        self._logs = logs
        self._blobs = blobs
        self._feed = feed
        self._answers: dict[type[m.Message], Callable[..., Answer]] = {
            m.ListRuns: self._list_runs,
            m.GetWorkspaces: self._get_workspaces,
            m.GetRun: self._get_run,
            m.GetJob: self._get_job,
            m.GetLog: self._get_log,
            m.ListWorkers: self._list_workers,
            m.ListEnvironments: self._list_environments,
            m.ListReleases: self._list_releases,
            m.ListTestResults: self._list_test_results,
            m.GetSnapshot: self._snapshot,
            m.GetGoneWorkers: self._gone_workers,
            m.BlobGet: self._blob_get,
            m.ListProjects: lambda query: (projects.list_projects(query), None),
            m.ShowProject: lambda query: (projects.show_project(query), None),
            m.ListTriggers: lambda query: (projects.list_triggers(query), None),
            m.GetTrigger: lambda query: (projects.get_trigger(query), None),
            m.TakeTriggers: lambda query: (projects.take_triggers(query), None),
            m.ListSchedules: lambda query: (schedules.list_schedules(query), None),
            m.ListChannels: lambda query: (channels.list_channels(query), None),
            m.ListDeliveries: lambda query: (deliveries.list_deliveries(query), None),
            m.TakeDeliveries: lambda query: (deliveries.take(query, durable=not self.stored_only), None),
        }
        self._finished: OrderedDict[int, RunState] = OrderedDict()  # least recently loaded first
        self.stored_only = False  # while the store is behind the engine: answer from durable state only

    def answer(self, query: Query) -> Answer | Wanted:
        """The answer and its payload, or what is to be searched for it.

        Raises ProtocolError for an unknown run, job, attempt or blob.
        """
        if isinstance(query, m.FindLines):
            return self._find_lines(query)
        return self._answers[type(query)](query)

    def run(self, id: int) -> RunState:
        """A run, finished or not. Raises ProtocolError if it does not exist."""
        run = None if self.stored_only else self._engine.unfinished().get(id) or self._finished.get(id)
        if run is not None:
            return run
        run = self._store.load_run(id)
        if run is None:
            raise ProtocolError("not_found", f"there is no run {id}")
        if not self.stored_only:
            self._finished[id] = run
            if len(self._finished) > REMEMBERED_RUNS:
                self._finished.popitem(last=False)
        return run

    def forget(self, id: int) -> None:
        """Evicts a run that has changed."""
        self._finished.pop(id, None)

    def _job(self, run_id: int, name: str) -> JobState:
        for stage in self.run(run_id).stages:
            for job in stage.jobs:
                if job.plan.name == name:
                    return job
        raise ProtocolError("not_found", f"run {run_id} has no job {name!r}")

    def _list_runs(self, query: m.ListRuns) -> Answer:
        runs = self._store.list_runs(bounded(query.limit), query.before, query.only)
        return m.RunList(id=query.id, runs=runs), None

    def _get_workspaces(self, query: m.GetWorkspaces) -> Answer:
        """Only those whose packs are all stored, and stay for the run that a client is about to submit."""
        found: list[GitWorkspace] = []
        size = 0
        for workspace in self._store.git_workspaces(query.project, min(bounded(query.limit), MOST_WORKSPACES)):
            size += len(msgspec.msgpack.encode(workspace))
            if found and size > MOST_WORKSPACE_BYTES:
                break
            if all(self._blobs.claim(pack.digest) == pack.size for pack in workspace.packs):
                found.append(workspace)
        return m.Workspaces(id=query.id, workspaces=found), None

    def _get_run(self, query: m.GetRun) -> Answer:
        return m.RunDetail(id=query.id, run=run_view(self.run(query.run), self._engine.kept())), None

    def _get_job(self, query: m.GetJob) -> Answer:
        job = self._job(query.run, query.job)
        attempts = [attempt_view(job, attempt) for attempt in job.attempts]
        story = self._store.story(query.run, query.job)
        services = [] if job.attempt is None else self._logs.services(job.attempt.id)
        reports = None if job.attempt is None else job.attempt.reports
        detail = m.JobDetail(
            id=query.id,
            job=masked(job.plan),
            attempts=attempts,
            story=story,
            services=services,
            inputs=current(job.plan, job.inputs),
            reports=reports,
            environment=self._environment(query.run, job),
            checkout=of_a_checkout(self.run(query.run).plan),
        )
        return detail, None

    def _environment(self, run: int, job: JobState) -> EnvironmentView | None:
        spec = job.plan.environment
        found = self._store.environment(self.run(run).plan.project, spec.name) if spec is not None else None
        return None if found is None else environment_view(found)

    def _attempt(self, job: JobState, query: m.GetLog | m.FindLines) -> AttemptState | None:
        if query.attempt is None:
            return job.attempt
        for attempt in job.attempts:
            if attempt.number == query.attempt:
                return attempt
        raise ProtocolError("not_found", f"job {query.job!r} of run {query.run} has no attempt {query.attempt}")

    def _find_lines(self, query: m.FindLines) -> Answer | Wanted:
        if (query.offset or 0) < 0 or (query.limit is not None and query.limit < 1):
            raise ProtocolError("bad_field", "the offset is 0 or more, the limit 1 or more")
        job = self._job(query.run, query.job)
        attempt = self._attempt(job, query)
        if attempt is None:
            return m.FoundLines(id=query.id, attempt_id=None, complete=job.status in ENDED), None
        size = self._logs.stored(attempt.id, query.stream)
        return Wanted(query, attempt.id, size, attempt.status in ENDED)

    def _get_log(self, query: m.GetLog) -> Answer:
        job = self._job(query.run, query.job)
        attempt = self._attempt(job, query)
        if attempt is None:
            return m.LogData(id=query.id, attempt_id=None, offset=0, size=0, complete=job.status in ENDED), b""
        size = self._logs.stored(attempt.id, query.stream)
        offset = min(query.offset, size) if query.offset >= 0 else max(0, size + query.offset)
        data = self._logs.read(attempt.id, offset, min(query.length, CHUNK_BYTES), query.stream)
        found = m.LogData(
            id=query.id,
            attempt_id=attempt.id,
            offset=offset,
            size=size,
            complete=attempt.status in ENDED,
            times=self._logs.times(attempt.id, offset, len(data), query.stream) if query.times and data else b"",
        )
        return found, data

    def _list_workers(self, query: m.ListWorkers) -> Answer:
        return m.WorkerList(id=query.id, workers=self._engine.worker_views()), None

    def _list_environments(self, query: m.ListEnvironments) -> Answer:
        found = self._store.list_environments(query.project, bounded(query.limit))
        return m.EnvironmentList(id=query.id, environments=[environment_view(each) for each in found]), None

    def _list_releases(self, query: m.ListReleases) -> Answer:
        releases = self._store.list_releases(query.project, bounded(query.limit))
        return m.ReleaseList(id=query.id, releases=releases), None

    def _list_test_results(self, query: m.ListTestResults) -> Answer:
        attempts, more = self._store.test_results(query.project, query.ref, query.job, query.before)
        return m.TestResultList(id=query.id, attempts=attempts, more=more), None

    def _snapshot(self, query: m.GetSnapshot) -> Answer:
        return (
            m.Snapshot(
                id=query.id,
                epoch=self._feed.epoch,
                seq=self._feed.seq,
                runs=self._store.list_runs(bounded(query.runs)),
                workers=self._engine.worker_views(),
                run=None if query.run is None else run_view(self.run(query.run), self._engine.kept()),
            ),
            None,
        )

    def _gone_workers(self, query: m.GetGoneWorkers) -> Answer:
        if len(query.workers) > m.MOST_WORKERS_ASKED:
            raise ProtocolError("too_large", f"a message names at most {m.MOST_WORKERS_ASKED} workers")
        return m.GoneWorkers(id=query.id, workers=self._engine.gone_workers(query.workers)), None

    def _blob_get(self, query: m.BlobGet) -> Answer:
        data, size = self._blobs.read(query.digest, query.offset, min(query.length, CHUNK_BYTES))
        return m.BlobData(id=query.id, digest=query.digest, offset=query.offset, size=size), data


def bounded(limit: int) -> int:
    """`limit`, clamped to 0..MOST_RUNS."""
    return max(0, min(limit, MOST_RUNS))


def masked(plan: JobPlan) -> JobPlan:
    """The plan with masked values replaced, for readers."""
    services = [
        msgspec.structs.replace(service, variables=_masked_variables(service.variables)) for service in plan.services
    ]
    return msgspec.structs.replace(plan, variables=_masked_variables(plan.variables), services=services)


def of_a_checkout(plan: Plan) -> list[Variable]:
    """The run's variables that decide what a checkout of the project contains: refs, depth, submodules."""
    given = [*plan.predefined, *plan.run_variables]
    named = (variable for variable in given if variable.key.startswith("GIT_") or variable.key in REFS_OF_A_CHECKOUT)
    return _masked_variables(list(named))


def _masked_variables(variables: list[Variable]) -> list[Variable]:
    return [msgspec.structs.replace(variable, value=MASKED) if variable.masked else variable for variable in variables]
