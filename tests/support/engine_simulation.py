"""A coordinator's engine with make-believe workers and a clock that tests move. For the pure engine's tests only."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from coordinator.engine.effects import LookUp, Turn
from coordinator.engine.engine import Engine
from coordinator.engine.origins import origin_of
from coordinator.engine.settings import Settings
from coordinator.engine.state import EnvironmentState, JobState, Now, RunState
from coordinator.engine.upstreams import LatestRun
from protocol import messages as m
from protocol.compilation import ChildRequest
from protocol.events import RunChanged
from protocol.plan import Plan
from protocol.statuses import ENDED, EnvironmentStatus, FailureReason
from protocol.statuses import ExecutionStatus as S
from tests.support.plans import job, plan


@dataclass
class SimWorker:
    """What a worker knows. It does nothing by itself; the test says what it reports."""

    name: str
    slots: int = 2
    labels: tuple[str, ...] = ()
    run_untagged: bool = True
    has: dict[str, m.Assignment] = field(default_factory=dict)
    satisfied: dict[str, dict[str, bool]] = field(default_factory=dict)
    status: dict[str, S] = field(default_factory=dict)
    canceling: set[str] = field(default_factory=set)
    connected: bool = True
    draining: bool = False

    def receive(self, message: m.Message) -> list[m.Message]:
        """Takes a frame of the coordinator; returns answers that a worker gives at once."""
        match message:
            case m.AssignJob(assignment=a):
                if a.attempt not in self.has:
                    self.has[a.attempt] = a
                    self.satisfied[a.attempt] = {d.job: d.satisfied for d in a.dependencies}
                    self.status[a.attempt] = S.PENDING
            case m.DependencyUpdate(attempt=attempt, dependency=d) if attempt in self.has:
                self.satisfied[attempt][d.job] = d.satisfied
            case m.CancelJob(attempt=attempt) if attempt in self.has:
                self.canceling.add(attempt)
            case m.DiscardAttempt(attempt=attempt):
                self.forget(attempt)
            case m.RevokeJob(attempt=attempt) if attempt in self.has and self.status[attempt] is not S.RUNNING:
                self.forget(attempt)
                return [m.JobReturned(attempt=attempt)]
            case m.Ack(attempt=attempt, status_seq=seq) if seq is not None and self.status.get(attempt) in ENDED:
                self.forget(attempt)
            case m.Drain(on=on):
                self.draining = on
            case _:
                pass
        return []

    def forget(self, attempt: str) -> None:
        self.has.pop(attempt, None)
        self.satisfied.pop(attempt, None)
        self.status.pop(attempt, None)
        self.canceling.discard(attempt)

    def held(self) -> list[m.HeldAttempt]:
        """What a hello and a heartbeat say that it has."""
        return [m.HeldAttempt(attempt=attempt, status=status) for attempt, status in self.status.items()]

    def may_start(self, attempt: str) -> bool:
        """The worker's own rule: all dependencies satisfied and a slot free."""
        running = sum(status is S.RUNNING for status in self.status.values())
        return all(self.satisfied[attempt].values()) and running < self.slots


class Sim:
    """An engine, its workers, and everything it ever wanted done."""

    def __init__(self, *workers: SimWorker, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.engine = Engine(self.settings)
        self.workers = {worker.name: worker for worker in workers}
        self.wall, self.mono, self.boot = 1_000_000.0, 100.0, "first boot"
        self.ids = itertools.count(1)
        self.seqs = itertools.count(1)
        self.turns: list[Turn] = []
        self.runs: dict[int, RunState] = {}
        self.environments: dict[tuple[str, str], EnvironmentState] = {}  # as the store has them
        self.starts: list[tuple[str, str]] = []  # (attempt, worker) of every script that began
        self.wanted: dict[str, ChildRequest] = {}  # child pipelines to compile, by attempt
        self.origins: dict[str, m.Origin] = {}  # what they are made of
        self.looked_for: dict[int, LookUp] = {}  # what jobs need of other pipelines, by job
        for worker in workers:
            self.hello(worker.name)

    @property
    def now(self) -> Now:
        return Now(self.wall, self.mono, self.boot)

    def restart(self, *, without: int | None = None) -> None:
        """The coordinator is killed and starts again from what it had written; what it compiled is lost.

        It can't read the run `without`, if given.
        """
        self.wanted.clear()
        self.looked_for.clear()
        runs = copy.deepcopy([run for run in self.engine.unfinished().values() if run.id != without])
        workers = copy.deepcopy(list(self.engine.workers().values()))
        ids = max((j.id for run in self.runs.values() for stage in run.stages for j in stage.jobs), default=0)
        self.engine = Engine(self.settings, next_run_id=max(self.runs, default=0) + 1, next_job_id=ids + 1)
        known = [each for each in self.environments.values() if each.status is not EnvironmentStatus.STOPPED]
        self.engine.restore(runs, workers, self.now, environments=copy.deepcopy(known))
        self.runs.update((run.id, run) for run in runs)
        self.flush()

    # messages in

    def flush(self) -> Turn:
        """Ends turns until the engine has nothing more to say."""
        while True:
            turn = self.engine.flush(self.now)
            self.turns.append(turn)
            self.runs.update((run.id, run) for run in turn.runs)
            self.environments.update((each.key, each) for each in turn.environments)
            self.wanted.update((child.attempt, child.request) for child in turn.children)
            self.origins.update((child.attempt, child.origin) for child in turn.children if child.origin is not None)
            self.looked_for.update((look_up.job, look_up) for look_up in turn.look_ups)
            answers: list[tuple[str, m.Message]] = []
            for send in turn.sends:
                worker = self.workers.get(send.worker)
                if worker is not None and worker.connected:
                    answers += [(worker.name, answer) for answer in worker.receive(send.message)]
            if not answers:
                return turn
            for name, answer in answers:
                if isinstance(answer, m.JobReturned):
                    self.engine.job_returned(name, answer, self.now)

    def hello(self, name: str) -> None:
        worker = self.workers[name]
        worker.connected = True
        held = worker.held()
        hello = m.Hello(
            protocol=1,
            name=name,
            session=f"s{next(self.ids)}",
            slots=worker.slots,
            labels=list(worker.labels),
            run_untagged=worker.run_untagged,
            attempts=held,
        )
        keep = self.engine.worker_hello(hello, self.now)
        for attempt in list(worker.has):
            if attempt not in keep:
                worker.forget(attempt)
        self.flush()
        for attempt in list(worker.has):
            if worker.status[attempt] not in (S.RUNNING, *ENDED):
                reply = self.engine.get_job_dependencies(name, m.GetJobDependencies(id=1, attempt=attempt))
                worker.satisfied[attempt] = {d.job: d.satisfied for d in reply.dependencies}

    def submit(self, what: Plan, **fields: Any) -> RunState:
        message = m.SubmitRun(id=1, token=f"t{next(self.ids)}", plan=what, **fields)
        reply = self.engine.submit_run(message, self.now)
        self.flush()
        return self.runs[reply.run]

    def compiled(self, run: RunState, name: str, what: Plan) -> RunState:
        """The child pipeline that a job waits for is compiled. Returns the child run."""
        attempt = self.attempt_of(run, name)
        origin = self.origins.get(attempt) or origin_of(run)
        del self.wanted[attempt]
        child = self.engine.child_compiled(attempt, what, origin, self.now)
        self.flush()
        assert child is not None, f"{name} waits for no child"
        return self.runs[child]

    def refused(self, run: RunState, name: str, *problems: str) -> None:
        """The child pipeline that a job waits for can't be compiled."""
        attempt = self.attempt_of(run, name)
        del self.wanted[attempt]
        self.engine.child_refused(attempt, list(problems), self.now)
        self.flush()

    def report(self, attempt: str, status: S, worker: str | None = None, **fields: Any) -> None:
        """A worker reports a status of an attempt."""
        name = worker or next(w.name for w in self.workers.values() if attempt in w.has)
        if attempt in self.workers[name].status:
            self.workers[name].status[attempt] = status
        if status is S.RUNNING:
            self.starts.append((attempt, name))
        message = m.JobStatus(attempt=attempt, seq=next(self.seqs), status=status, log_length=0, **fields)
        self.engine.job_status(name, message, 0, self.now)
        self.flush()

    def pass_time(self, seconds: float, *, speaking: bool = True) -> None:
        self.wall += seconds
        self.mono += seconds
        for worker in self.workers.values():
            if worker.connected and speaking:
                self.engine.worker_heard(worker.name, self.now, held=worker.held())
        self.engine.tick(self.now)
        for environment in self.engine.due_environments(self.now):
            self.engine.stop_when_due(environment, self.now, finished=self.finished())
        self.flush()

    def finished(self) -> dict[int, RunState]:
        """The runs that have ended, as the store has them."""
        return {id: run for id, run in self.runs.items() if id not in self.engine.unfinished()}

    def stop_environment(self, name: str, project: str | None = None) -> int:
        """A client has an environment stopped. Returns the number of jobs that do so."""
        environment = self.engine.environment(name, project)
        count = self.engine.stop_environment(environment, self.now, finished=self.finished())
        self.flush()
        return count

    # stories

    def attempt_of(self, run: RunState, name: str) -> str:
        attempt = self.job(run, name).attempt
        assert attempt is not None, f"{name} has no attempt"
        return attempt.id

    def job(self, run: RunState, name: str) -> JobState:
        return next(j for stage in run.stages for j in stage.jobs if j.plan.name == name)

    def start(self, run: RunState, name: str) -> None:
        self.report(self.attempt_of(run, name), S.RUNNING)

    def succeed(self, run: RunState, name: str, **fields: Any) -> None:
        self.report(self.attempt_of(run, name), S.SUCCESS, exit_code=0, **fields)

    def fail(
        self, run: RunState, name: str, code: int = 1, reason: FailureReason = FailureReason.SCRIPT_FAILURE
    ) -> None:
        self.report(self.attempt_of(run, name), S.FAILED, exit_code=code, failure_reason=reason)

    def statuses(self, run: RunState) -> dict[str, str]:
        return {j.plan.name: j.status.value for stage in run.stages for j in stage.jobs}

    def announced(self, run: RunState) -> list[str]:
        """The statuses that the feed has told of a run, without repeats."""
        told = [
            e.run.status.value for t in self.turns for e in t.events if isinstance(e, RunChanged) and e.run.id == run.id
        ]
        return [status for i, status in enumerate(told) if i == 0 or told[i - 1] != status]

    def finish(self, run: RunState, decide: Callable[[JobState], S] = lambda _: S.SUCCESS, limit: int = 1000) -> None:
        """Workers do what they may until the run has ended."""
        for _ in range(limit):
            if run.status in ENDED:
                return
            if not self.step(decide):
                raise AssertionError(f"stuck: {self.statuses(run)}")
        raise AssertionError(f"not ended after {limit} steps: {self.statuses(run)}")

    def step(self, decide: Callable[[JobState], S]) -> bool:
        """One worker does one thing, a child of one job is compiled, or what one needs of other pipelines is found.

        Returns False when nothing can be done.
        """
        if self.looked_for:
            id, wanted = self.looked_for.popitem()
            if wanted.mirrors:
                self.engine.mirrored(id, LatestRun(0, wanted.mirrors, S.SUCCESS), self.now)
            else:
                self.engine.upstream_found(id, [], self.now)
            self.flush()
            return True
        if self.wanted:
            attempt = next(iter(self.wanted))
            del self.wanted[attempt]
            self.engine.child_compiled(attempt, plan(job("child")), self.origins[attempt], self.now)
            self.flush()
            return True
        for worker in self.workers.values():
            for attempt, status in list(worker.status.items()):
                if not worker.connected or status in ENDED:
                    continue
                if attempt in worker.canceling:
                    self.report(attempt, S.CANCELED)
                elif status is S.RUNNING:
                    found = self.engine._ledger.find_attempt(attempt)
                    outcome = decide(found[0]) if found else S.SUCCESS
                    code = {S.SUCCESS: 0, S.FAILED: 1}.get(outcome)
                    self.report(attempt, outcome, exit_code=code)
                elif worker.may_start(attempt):
                    self.report(attempt, S.RUNNING)
                elif status is S.PENDING:
                    self.report(attempt, S.WAITING)
                else:
                    continue
                return True
        return False
