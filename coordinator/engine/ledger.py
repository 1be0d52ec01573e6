"""The engine's state and recorded effects. Pure.

The other modules decide; this one records. It applies the transition table, maintains counts and indexes, writes the
story, and collects the rows, frames and events of the turn.
"""

from __future__ import annotations

from coordinator.engine.effects import CompileChild, KeptTests, LookUp, OwnWorkspace, Send, Story, Turn
from coordinator.engine.run_index import RunIndex
from coordinator.engine.state import (
    AttemptState,
    EnvironmentState,
    JobState,
    KeptContainer,
    Now,
    RunState,
    StageState,
    WorkerState,
    goes_to_worker,
    is_downstream,
)
from coordinator.engine.transitions import TABLE, IllegalTransition, JobEvent
from coordinator.engine.views import job_view, run_summary, stage_view, worker_view
from protocol.compilation import ChildRequest
from protocol.events import JobChanged, RunChanged, StageChanged, WorkerChanged
from protocol.messages import Ack, Message, Origin
from protocol.statuses import ENDED
from protocol.statuses import ExecutionStatus as S
from protocol.workspace import Workspace

STORY_KEPT = 8
"""Story lines of a job that an IllegalTransition shows."""
LINES_SHARED = 10_000
"""Distinct story lines that are interned: most recur for other jobs."""


class Ledger:
    """All unfinished runs, all known workers, and their changes in this turn."""

    def __init__(self) -> None:
        self.now = Now(0.0, 0.0)
        self.runs: dict[int, RunState] = {}
        self.indexes: dict[int, RunIndex] = {}
        self.jobs: dict[int, JobState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.environments: dict[tuple[str, str], EnvironmentState] = {}  # by project and name; without stopped ones
        self.kept: dict[str, KeptContainer] = {}  # by attempt
        self._recent: dict[int, list[str]] = {}
        self.mirrors: dict[int, list[JobState]] = {}  # run id -> jobs that take its status, some of which have ended
        self._lines: dict[str, str] = {}  # interned story lines of all jobs
        self._turn = Turn()
        self._runs: dict[int, RunState] = {}
        self._stages: dict[tuple[int, int], StageState] = {}
        self._jobs: dict[int, JobState] = {}
        self._attempts: dict[str, AttemptState] = {}
        self._workers: dict[str, WorkerState] = {}
        self._environments: dict[tuple[str, str], EnvironmentState] = {}
        self._acknowledged: dict[tuple[str, str], int] = {}

    # look-ups

    def add_run(self, run: RunState) -> RunIndex:
        """Adds a run: a new one, one from the store, or a reopened one."""
        index = RunIndex(run)
        self.runs[run.id] = run
        self.indexes[run.id] = index
        self.jobs.update((job.id, job) for job in index.jobs)
        return index

    def drop_run(self, run: RunState) -> None:
        """Drops a finished run, which the store has."""
        for job in self.indexes.pop(run.id).jobs:
            del self.jobs[job.id]
            self._recent.pop(job.id, None)
        del self.runs[run.id]

    def children_of(self, run: RunState) -> list[RunState]:
        """The unfinished child runs that jobs of this one have started."""
        started = (other for other in self.runs.values() if other.parent is not None and other.parent.run == run.id)
        return [other for other in started if not is_downstream(other)]

    def waiting_for(self, run: RunState) -> list[JobState]:
        """The jobs that take the outcome of this run: the one that started it, and those that mirror it."""
        above = self.parent_of(run)
        mirrors = self.mirrors.pop(run.id, ())
        return [*([above] if above is not None else ()), *filter(self._mirrors, mirrors)]

    def _mirrors(self, job: JobState) -> bool:
        return self.jobs.get(job.id) is job and job.status is S.RUNNING

    def waits_for(self, run: RunState, other: RunState) -> bool:
        """Whether the end of a run depends on that of another one, or is the same."""
        todo, seen = [run], {run.id}
        while todo:
            for job in self.indexes[todo.pop().id].jobs:
                awaited = self.awaited(job)
                if awaited is not None and awaited.id not in seen:
                    seen.add(awaited.id)
                    todo.append(awaited)
        return other.id in seen

    def awaited(self, job: JobState) -> RunState | None:
        """The unfinished run that a job waits for, if any."""
        if job.status is not S.RUNNING or goes_to_worker(job.plan):
            return None
        mirrored = job.external.mirrors if job.external is not None else None
        return self.runs.get(mirrored or (job.child_runs[-1] if job.child_runs else 0))

    def parent_of(self, run: RunState) -> JobState | None:
        """The job that waits for this run to end, if any."""
        index = self.indexes.get(run.parent.run) if run.parent else None
        job = index.by_name.get(run.parent.job) if index and run.parent else None
        waits = job is not None and job.status is S.RUNNING and job.child_runs[-1:] == [run.id]
        return job if waits else None

    def run_of(self, job: JobState) -> RunState:
        """The run that a job belongs to."""
        return self.runs[job.run_id]

    def index_of(self, job: JobState) -> RunIndex:
        """The index of the job's run."""
        return self.indexes[job.run_id]

    def find_attempt(self, attempt_id: str) -> tuple[JobState, AttemptState] | None:
        """The attempt of that id with its job, if it is the current attempt of an unfinished run's job."""
        job_id, _, _ = attempt_id.partition(".")
        job = self.jobs.get(int(job_id)) if job_id.isdecimal() else None
        if job is None or job.attempt is None or job.attempt.id != attempt_id:
            return None
        return job, job.attempt

    def job_of(self, attempt: AttemptState) -> JobState | None:
        """The job of an attempt, if that is the current attempt of an unfinished run's job."""
        job = self.jobs.get(attempt.job_id)
        return job if job is not None and job.attempts and job.attempts[-1] is attempt else None

    def holder_of(self, attempt: AttemptState | None) -> WorkerState | None:
        """The worker that currently has an attempt, if any."""
        worker = self.workers.get(attempt.worker) if attempt else None
        return worker if worker is not None and attempt is not None and attempt.id in worker.attempts else None

    # changes

    def move(self, job: JobState, event: JobEvent, text: str) -> None:
        """Applies an event to a job. Raises IllegalTransition if the table has no entry."""
        target = TABLE[job.status].get(event)
        if target is None:
            raise IllegalTransition(job.plan.name, job.status, event, list(self._recent.get(job.id, ())))
        index = self.indexes[job.run_id]
        index.count(job, -1)
        job.status = target
        if target in ENDED:
            job.finished_at = self.now.wall
        elif event in (JobEvent.REQUEUE, JobEvent.WITHDRAW, JobEvent.RESET):
            job.started_at = job.finished_at = None
            job.failure_reason = job.message = None
            job.allowed_to_fail = False
        if target not in (S.CREATED, S.PENDING, S.WAITING):
            job.pending_reason = None
        index.count(job, 1)
        self.tell(job, text)
        self.touch_job(job)

    def allow_to_fail(self, job: JobState) -> None:
        """Marks a job's failure as allowed, before it fails."""
        index = self.indexes[job.run_id]
        index.count(job, -1)
        job.allowed_to_fail = True
        index.count(job, 1)

    def explain(self, job: JobState, reason: str | None) -> None:
        """Sets a job's pending reason."""
        if job.pending_reason != reason:
            job.pending_reason = reason
            self.touch_job(job)

    def open_attempt(self, job: JobState) -> AttemptState:
        """The current attempt of a job that needs no worker; a new one if there is none or it has ended."""
        attempt = job.attempt
        if attempt is None or attempt.status in ENDED:
            attempt = self.new_attempt(job)
            attempt.released = True
            attempt.assigned_at = self.now.wall
            self.touch_attempt(attempt)
            self.touch_job(job)
        return attempt

    def new_attempt(self, job: JobState) -> AttemptState:
        """The next attempt of a job, which becomes its current one."""
        number = job.next_number
        attempt = AttemptState(id=f"{job.id}.{number}", job_id=job.id, number=number, worker="")
        job.attempts.append(attempt)
        return attempt

    def attach(self, worker: WorkerState, attempt: AttemptState) -> None:
        """Gives an attempt to a worker; it takes a slot if it is released."""
        attempt.worker = worker.name
        worker.attempts[attempt.id] = attempt
        if attempt.released:
            worker.active += 1
        else:
            worker.held += 1
        self.touch_attempt(attempt)
        self.touch_worker(worker)

    def detach(self, attempt: AttemptState) -> WorkerState | None:
        """Takes an attempt from its worker. Returns the worker."""
        worker = self.holder_of(attempt)
        if worker is None:
            return None
        del worker.attempts[attempt.id]
        if attempt.released:
            worker.active -= 1
        else:
            worker.held -= 1
        self.touch_worker(worker)
        return worker

    def release(self, attempt: AttemptState) -> None:
        """Lets a held attempt begin; it takes a slot from now on."""
        worker = self.workers[attempt.worker]
        attempt.released = True
        worker.held -= 1
        worker.active += 1
        self.touch_attempt(attempt)
        self.touch_worker(worker)

    # effects

    def tell(self, job: JobState, text: str) -> None:
        """Adds a line to a job's story."""
        attempt = job.attempt.id if job.attempt else None
        text = self._lines.setdefault(text, text)
        if len(self._lines) > LINES_SHARED:
            self._lines.clear()
        self._turn.stories.append(Story(job.run_id, job.plan.name, attempt, self.now.wall, text))
        recent = self._recent.setdefault(job.id, [])
        recent.append(text)
        del recent[:-STORY_KEPT]

    def keep_tests(self, job: JobState, attempt: AttemptState, results: bytes) -> None:
        """Records the packed results of an attempt's tests."""
        workspace = job.own_workspace(attempt.number) or self.run_of(job).workspace
        files = workspace.id if workspace is not None else f"run {job.run_id}"
        self._turn.tests.append(KeptTests(job.id, attempt.number, files, results))

    def give_workspace(self, job: JobState, workspace: Workspace | None) -> None:
        """Gives the job's further attempts these files in place of the run's, or (None) the run's."""
        if job.own_workspace(job.next_number) is not workspace:
            job.own_workspaces = {**job.own_workspaces, job.next_number: workspace}
            self._turn.workspaces.append(OwnWorkspace(job.id, job.next_number, workspace))

    def keep(self, kept: KeptContainer) -> None:
        """Records that a container is kept."""
        self.kept[kept.attempt] = kept
        self._turn.kept.append(kept)
        self._kept_changed(kept)

    def unkeep(self, kept: KeptContainer) -> None:
        """Records that a container is kept no longer."""
        del self.kept[kept.attempt]
        self._turn.unkept.append(kept.attempt)
        self._kept_changed(kept)

    def _kept_changed(self, kept: KeptContainer) -> None:
        if worker := self.workers.get(kept.worker):
            self.touch_worker(worker)
        found = self.find_attempt(kept.attempt)
        if found is not None:
            self.touch_job(found[0])

    def kept_by(self, worker: WorkerState) -> list[str]:
        """The jobs whose containers a worker keeps, as `RUN/JOB`."""
        return [f"{one.run}/{one.job}" for one in self.kept.values() if one.worker == worker.name]

    def send(self, worker: str, message: Message) -> None:
        """Records a frame for a worker."""
        self._turn.sends.append(Send(worker, message))

    def compile_child(self, attempt: AttemptState, request: ChildRequest, origin: Origin | None) -> None:
        """Records that a pipeline is to be compiled."""
        self._turn.children.append(CompileChild(attempt.id, request, origin))

    def look_up(self, job: JobState) -> None:
        """Records that what a job needs of other pipelines is to be looked for."""
        run = self.run_of(job)
        self._turn.look_ups.append(LookUp(job.id, run.id, run.plan.project, job.plan.external_needs, job.plan.mirrors))

    def acknowledge(self, worker: str, attempt_id: str, seq: int) -> None:
        """Records the acknowledgement of a status; the newest one of a turn covers those before it."""
        key = worker, attempt_id
        self._acknowledged[key] = max(seq, self._acknowledged.get(key, seq))

    def log_complete(self, attempt: AttemptState) -> None:
        """Records that this attempt's logs are complete: no more bytes will be accepted."""
        self._turn.ended_attempts.append(attempt)

    def touch_run(self, run: RunState) -> None:
        """Marks a run's row as changed."""
        self._runs[run.id] = run

    def touch_job(self, job: JobState) -> None:
        """Marks a job's row as changed; its stage and run may have changed with it."""
        self._jobs[job.id] = job
        run = self.runs[job.run_id]
        self._stages[job.run_id, job.stage_index] = run.stages[job.stage_index]
        self._runs[run.id] = run

    def touch_attempt(self, attempt: AttemptState) -> None:
        """Marks an attempt's row as changed."""
        self._attempts[attempt.id] = attempt

    def touch_worker(self, worker: WorkerState) -> None:
        """Marks a worker's row as changed."""
        self._workers[worker.name] = worker

    def touch_environment(self, environment: EnvironmentState) -> None:
        """Marks an environment's row as changed."""
        self._environments[environment.key] = environment

    def close_turn(self) -> Turn:
        """Derives the statuses of changed stages and runs, and returns the turn's effects."""
        turn = self._turn
        self._turn = Turn()
        for (run_id, _), stage in self._stages.items():
            self._refresh_stage(self.indexes[run_id], stage)
        for run in self._runs.values():
            self._refresh_run(run)
        turn.runs, self._runs = list(self._runs.values()), {}
        turn.stages, self._stages = list(self._stages.values()), {}
        turn.jobs, self._jobs = list(self._jobs.values()), {}
        turn.attempts, self._attempts = list(self._attempts.values()), {}
        turn.workers, self._workers = list(self._workers.values()), {}
        turn.environments, self._environments = list(self._environments.values()), {}
        turn.events = [
            *(RunChanged(run=run_summary(run, self.indexes[run.id].total)) for run in turn.runs),
            *(StageChanged(run=stage.run_id, stage=stage_view(stage, with_jobs=False)) for stage in turn.stages),
            *(
                JobChanged(
                    run=job.run_id,
                    stage=self.runs[job.run_id].stages[job.stage_index].name,
                    job=job_view(job, self.indexes[job.run_id], self.kept),
                )
                for job in turn.jobs
            ),
            *(
                WorkerChanged(worker=worker_view(worker, self.jobs_at(worker), self.kept_by(worker)))
                for worker in turn.workers
            ),
        ]
        turn.sends += [
            Send(worker, Ack(attempt=attempt, status_seq=seq)) for (worker, attempt), seq in self._acknowledged.items()
        ]
        self._acknowledged = {}
        for run in turn.runs:
            if run.status in ENDED:
                self.drop_run(run)
        return turn

    def jobs_at(self, worker: WorkerState) -> list[str]:
        """The jobs that a worker runs and holds, as `RUN/JOB`."""
        jobs = map(self.job_of, worker.attempts.values())
        return [f"{job.run_id}/{job.plan.name}" for job in jobs if job is not None]

    def _refresh_stage(self, index: RunIndex, stage: StageState) -> None:
        status = index.stages[stage.index].status(canceling=index.run.canceling)
        if stage.started_at is None and status not in (S.CREATED, S.SKIPPED):
            stage.started_at = self.now.wall
        if status in ENDED:
            stage.finished_at = stage.finished_at if stage.status in ENDED else self.now.wall
        else:
            stage.finished_at = None
        stage.status = status

    def _refresh_run(self, run: RunState) -> None:
        status = self.indexes[run.id].total.status(canceling=run.canceling)
        if run.started_at is None and status in (S.RUNNING, *ENDED):
            run.started_at = self.now.wall
        if status in ENDED:
            run.finished_at = self.now.wall
        else:
            run.finished_at = None
        run.status = status
