"""The engine's interface: one method per event that a coordinator can receive. Pure.

Each method changes the state and records its effects; `flush` returns all of them as one `Turn`. Time is passed in as
`Now` and never read. Methods that answer a client raise ProtocolError for impossible requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from coordinator.engine.children import Children
from coordinator.engine.client_commands import ClientCommands
from coordinator.engine.effects import Turn
from coordinator.engine.environment_stops import EnvironmentStops
from coordinator.engine.environments import Environments
from coordinator.engine.flow import Flow
from coordinator.engine.kept_containers import KeptContainers
from coordinator.engine.ledger import Ledger
from coordinator.engine.runs import RunFactory
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.settings import Settings
from coordinator.engine.state import (
    AttemptState,
    EnvironmentState,
    KeptContainer,
    Now,
    RunState,
    WorkerState,
    goes_to_worker,
)
from coordinator.engine.upstreams import LatestRun, Upstreams
from coordinator.engine.views import worker_view
from coordinator.engine.worker_events import WorkerEvents
from protocol import messages as m
from protocol.plan import Plan
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S
from protocol.views import WorkerView

NO_RUNS: Mapping[int, RunState] = MappingProxyType({})


class Engine:
    """Owns the unfinished runs and all known workers."""

    def __init__(self, settings: Settings, *, next_run_id: int = 1, next_job_id: int = 1) -> None:
        self.settings = settings
        self._ledger = Ledger()
        self._scheduler = Scheduler(self._ledger, log_limit=settings.log_limit, lease=settings.lease)
        self._environments = Environments(self._ledger)
        self._flow = Flow(self._ledger, self._scheduler, self._environments)
        self._kept = KeptContainers(self._ledger)
        self._reports = WorkerEvents(self._ledger, self._scheduler, self._flow, self._kept, settings)
        runs = RunFactory(next_run_id=next_run_id, next_job_id=next_job_id)
        self._children = Children(self._ledger, self._flow, runs)
        self._upstreams = Upstreams(self._ledger, self._scheduler, self._flow)
        self._commands = ClientCommands(self._ledger, self._scheduler, self._flow, runs, self._children)
        self._stops = EnvironmentStops(self._ledger, self._environments, self._commands)

    def restore(
        self,
        runs: Iterable[RunState],
        workers: Iterable[WorkerState],
        now: Now,
        *,
        environments: Iterable[EnvironmentState] = (),
        kept: Sequence[KeptContainer] = (),
    ) -> None:
        """Restores unfinished runs, known workers, environments and kept containers from the store after a start.

        All workers are offline.
        """
        self._ledger.now = now
        self._reports.grace_until = now.mono + self.settings.restart_grace
        for worker in workers:
            worker.online, worker.last_seen_mono = False, now.mono
            worker.attempts, worker.active, worker.held = {}, 0, 0
            self._ledger.workers[worker.name] = worker
        taken_up = sorted(runs, key=lambda run: run.id)
        for run in taken_up:
            for job in self._ledger.add_run(run).jobs:
                attempt = job.attempt
                if attempt is None or attempt.status in ENDED or job.status in ENDED:
                    continue
                if not goes_to_worker(job.plan) and job.status is S.RUNNING:
                    self._scheduler.take_lock(job)
                if not attempt.worker:
                    continue
                holder = self._ledger.workers.setdefault(attempt.worker, WorkerState(name=attempt.worker))
                holder.last_seen_mono = now.mono
                attempt.sent_mono = now.mono
                self._ledger.attach(holder, attempt)
                self._scheduler.take_lock(job)
        for run in taken_up:
            for job in self._ledger.indexes[run.id].jobs:
                if job.status is S.SCHEDULED:
                    self._flow.resume_delay(job)
                elif job.status is S.PENDING and self._ledger.holder_of(job.attempt) is None:
                    self._scheduler.enqueue(job)
            self._flow.resume(run)
        self._upstreams.resume(taken_up)
        self._children.resume(taken_up)
        self._environments.restore(environments)
        self._kept.restore(kept)

    def flush(self, now: Now) -> Turn:
        """Schedules pending jobs and returns all effects since the last flush."""
        self._ledger.now = now
        self._scheduler.run()
        return self._ledger.close_turn()

    def tick(self, now: Now) -> None:
        """Checks deadlines: leases, lost workers, delayed jobs, stuck jobs. Call about once a second."""
        self._ledger.now = now
        self._reports.check_workers()
        self._commands.check_time(self.settings.pending_timeout)
        self._kept.check_time()

    def was_away(self, seconds: float, now: Now) -> None:
        """Discounts a suspension of the coordinator or its machine: workers were not silent in that time."""
        self._ledger.now = now
        self._reports.was_away(seconds)

    # workers

    def worker_hello(self, hello: m.Hello, now: Now) -> list[str]:
        """Registers a worker's hello. Returns the attempts that it keeps; send Welcome before the turn's frames."""
        self._ledger.now = now
        return self._reports.worker_hello(hello)

    def worker_heard(
        self,
        worker: str,
        now: Now,
        *,
        disk_low: bool | None = None,
        held: Sequence[m.HeldAttempt] | None = None,
        kept: Sequence[m.KeptAttempt] | None = None,
    ) -> None:
        """Records a sign of life of a worker; `disk_low`, `held` (all of its attempts) and `kept` (all that it keeps)
        are a heartbeat's.
        """
        self._ledger.now = now
        self._reports.worker_heard(worker, disk_low=disk_low, held=held)
        if kept is not None:
            self._kept.reported(worker, kept)

    def worker_goodbye(self, worker: str, goodbye: m.Goodbye, now: Now) -> None:
        """Registers a worker's orderly exit."""
        self._ledger.now = now
        self._reports.worker_goodbye(worker, goodbye)

    def worker_shut_out(self, worker: str, now: Now, *, revoked_at: float | None = None) -> None:
        """Gives up a worker whose key was revoked: its attempts are lost at once.

        After a start, `revoked_at` (wall clock) tells its attempts from those of a later worker of the same name.
        """
        self._ledger.now = now
        self._reports.worker_shut_out(worker, revoked_at)

    def holds(self, worker: str, attempt: str) -> AttemptState | None:
        """The unfinished attempt, if this worker holds it; only then are its log bytes accepted."""
        return self._reports.holds(worker, attempt)

    def project_of(self, worker: str, attempt: str) -> str | None:
        """The project of an unfinished attempt, if this worker holds it."""
        return self._reports.project_of(worker, attempt)

    def may_read(self, worker: str, digest: str) -> bool:
        """Whether a blob belongs to a run that this worker holds an attempt of."""
        return self._reports.may_read(worker, digest)

    def log_bound(self, attempt: str) -> int | None:
        """The log limit of an unfinished attempt in bytes, without the line that reports truncation; None: none."""
        return self._reports.log_bound(attempt)

    def services(self, attempt: str) -> int:
        """The number of services of an unfinished attempt's job."""
        return self._reports.services(attempt)

    def job_status(self, worker: str, message: m.JobStatus, stored_log: int, now: Now) -> None:
        """Applies a status once and acknowledges it.

        `stored_log` is the number of log bytes durable by this turn's end. A final status with a longer log is not
        applied: it is answered with that offset, and the worker must send it again.
        """
        self._ledger.now = now
        self._reports.update_job_execution_status(worker, message, stored_log)

    def job_returned(self, worker: str, message: m.JobReturned, now: Now) -> None:
        """Takes back an attempt that never began."""
        self._ledger.now = now
        self._reports.job_returned(worker, message)

    def give_up(self, worker: str, attempt: str, message: str, now: Now) -> None:
        """Fails an attempt whose result could never be accepted, and has its worker discard it."""
        self._ledger.now = now
        self._reports.give_up(worker, attempt, message)

    def get_job_execution(self, worker: str, message: m.GetJobExecution) -> m.JobExecution:
        """The assignment of an attempt that the worker holds."""
        return self._reports.get_job_execution(worker, message)

    def get_job_dependencies(self, worker: str, message: m.GetJobDependencies) -> m.JobDependencies:
        """The dependencies of an attempt that the worker holds."""
        return self._reports.get_job_dependencies(worker, message)

    def get_job_status(self, worker: str, message: m.GetJobStatus) -> m.JobStatusReply:
        """The status of an attempt; the caller fills in `log_offset` and `status_seq`."""
        return self._reports.get_job_status(worker, message)

    # clients

    def submit_run(self, message: m.SubmitRun, now: Now, *, known: int | None = None) -> m.RunSubmitted:
        """Starts a run. `known` is the run that the store already has for its token."""
        self._ledger.now = now
        return self._commands.submit_run(message, known)

    def cancel(self, message: m.Cancel, now: Now) -> m.Done:
        """Cancels a run or a job."""
        self._ledger.now = now
        return self._commands.cancel(message)

    def retry(self, message: m.Retry, now: Now, *, finished: Mapping[int, RunState] = NO_RUNS) -> m.Done:
        """Retries a run or job. `finished` are those of the run and its ancestors that have ended, from the store."""
        self._ledger.now = now
        return self._commands.retry(message, finished)

    def play(self, message: m.Play, now: Now, *, finished: Mapping[int, RunState] = NO_RUNS) -> m.Done:
        """Starts a manual or delayed job. `finished` as for `retry`."""
        self._ledger.now = now
        return self._commands.play(message, finished)

    def drain(self, message: m.DrainWorker, now: Now) -> m.Done:
        """Starts or ends draining a worker."""
        self._ledger.now = now
        return self._commands.drain(message)

    # kept containers

    def drop(self, message: m.Drop, now: Now) -> m.Done:
        """Ends the kept containers of a run or a job."""
        self._ledger.now = now
        return self._kept.drop(message)

    def kept(self) -> Mapping[str, KeptContainer]:
        """All kept containers, by attempt."""
        return self._ledger.kept

    def place_of(self, run: int, job: str) -> tuple[str, str]:
        """The attempt of a job whose container runs or is kept, and its worker. Raises ProtocolError."""
        return self._kept.place_of(run, job)

    # environments

    def environment(self, name: str, project: str | None) -> EnvironmentState:
        """The environment of that name that is not stopped. Raises ProtocolError if there is none, or several."""
        return self._stops.find(name, project)

    def stop_environment(
        self, environment: EnvironmentState, now: Now, *, finished: Mapping[int, RunState] = NO_RUNS
    ) -> int:
        """Stops an environment by its jobs, if it has any. Returns their number.

        `finished` has the run of its last deployment, if that has ended.
        """
        self._ledger.now = now
        return self._stops.stop(environment, finished)

    def due_environments(self, now: Now) -> list[EnvironmentState]:
        """The environments to be passed to `stop_when_due`, the first one first."""
        self._ledger.now = now
        return self._environments.due()

    def stop_when_due(
        self, environment: EnvironmentState, now: Now, *, finished: Mapping[int, RunState] = NO_RUNS
    ) -> None:
        """As `stop_environment` for one whose time has come; it stays due while its jobs can't be played yet."""
        self._ledger.now = now
        self._stops.stop_when_due(environment, finished)

    # child runs

    def awaits_child(self, attempt: str) -> RunState | None:
        """The run whose job still waits for the plan that was asked for with this attempt, if it does."""
        return self._children.awaited(attempt)

    def child_compiled(self, attempt: str, plan: Plan, origin: m.Origin, now: Now) -> int | None:
        """Starts the run that an attempt has asked for, once. Returns its id, if it was started."""
        self._ledger.now = now
        return self._children.start(attempt, plan, origin)

    def child_refused(
        self,
        attempt: str,
        problems: list[str],
        now: Now,
        reason: FailureReason = FailureReason.DOWNSTREAM_PIPELINE_CREATION_FAILED,
    ) -> None:
        """Fails the job whose run can't be created."""
        self._ledger.now = now
        self._children.refuse(attempt, problems, reason)

    # other pipelines

    def upstream_found(self, job: int, sources: list[m.Dependency], now: Now) -> None:
        """Queues a job that has asked for artifacts of other pipelines."""
        self._ledger.now = now
        self._upstreams.found(job, sources)

    def upstream_missing(self, job: int, problems: list[str], now: Now) -> None:
        """Fails a job whose artifacts of other pipelines are not there."""
        self._ledger.now = now
        self._upstreams.missing(job, problems)

    def mirrored(self, job: int, latest: LatestRun | None, now: Now) -> None:
        """Has a job take the status of the latest run of the project that it mirrors, or fails it without one."""
        self._ledger.now = now
        self._upstreams.mirrored(job, latest)

    # for readers

    def unfinished(self) -> Mapping[int, RunState]:
        """Unfinished runs, by id."""
        return self._ledger.runs

    def workers(self) -> Mapping[str, WorkerState]:
        """All known workers, by name."""
        return self._ledger.workers

    def gone_workers(self, names: Sequence[str]) -> list[str]:
        """Those of the named workers that are gone for good."""
        return [name for name in names if self._reports.gone(name)]

    def worker_views(self) -> list[WorkerView]:
        """Views of all known workers, by name."""
        ledger = self._ledger
        return [
            worker_view(worker, ledger.jobs_at(worker), ledger.kept_by(worker))
            for _, worker in sorted(ledger.workers.items())
        ]
