"""Whatever happens in whatever order, what the engine guarantees stays true."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coordinator.engine.settings import Settings
from coordinator.engine.state import JobState, RunState, is_downstream
from coordinator.engine.upstreams import LatestRun
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.messages import Dependency, Origin
from protocol.plan import EnvironmentSpec, ExternalNeed, JobInput, JobPlan, Plan, RetrySpec
from protocol.statuses import ENDED, EnvironmentStatus
from protocol.statuses import ExecutionStatus as S
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import PROJECT, job, plan, trigger

OTHER = "group/other"
ORIGIN = Origin(project=OTHER, file="ci.yml")
STAGES = ["build", "test", "deploy"]
WHENS = ["on_success", "on_success", "on_success", "on_failure", "always", "manual"]
ENVIRONMENTS = [
    None,
    None,
    EnvironmentSpec(name="e", on_stop="j1", auto_stop_in=22.0),
    EnvironmentSpec(name="e"),
    EnvironmentSpec(name="e", action="stop"),
    EnvironmentSpec(name="e", action="access"),
]
INPUTS = {"x": JobInput(default=0, type="number", options=[0, 1, 2])}
RETRIES = [RetrySpec(), RetrySpec(max=1), RetrySpec(max=2, when=["runner_system_failure"])]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Up to seven jobs in up to three stages, with needs that only look back."""
    jobs: list[JobPlan] = []
    for i in range(draw(st.integers(1, 7))):
        stage = draw(st.sampled_from(STAGES))
        before = [j.name for j in jobs if STAGES.index(j.stage) <= STAGES.index(stage)]
        needs = draw(st.none() | st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else None
        when = draw(st.sampled_from(WHENS))
        strategy = draw(st.sampled_from([None, None, None, "none", "depend", "mirror"]))
        made = job(
            f"j{i}",
            stage,
            script="${{ job.inputs.x }}",
            inputs=INPUTS,
            needs=needs,
            when=when,
            allow_failure=draw(st.booleans()) or when == "manual",
            retry=draw(st.sampled_from(RETRIES)),
            resource_group=draw(st.sampled_from([None, None, None, "lock"])),
            interruptible=draw(st.booleans()),
            environment=draw(st.sampled_from(ENVIRONMENTS)),
        )
        of_others = draw(st.sampled_from([None, None, None, "starts", "mirrors", "takes"]))
        if strategy is not None:
            of_trigger: dict[str, Any] = {"include": [], "project": OTHER} if of_others == "starts" else {}
            started = trigger(strategy=strategy, **of_trigger)
            made = msgspec.structs.replace(made, script=[], inputs={}, retry=RetrySpec(), trigger=started.trigger)
        elif of_others == "mirrors":
            made = msgspec.structs.replace(made, script=[], inputs={}, retry=RetrySpec(), mirrors=PROJECT)
        elif of_others == "takes":
            need = ExternalNeed(job="j0", project=OTHER, ref="main")
            made = msgspec.structs.replace(made, external_needs=[need])
        jobs.append(made)
    return plan(*jobs, stages=STAGES)


class Coordinator(RuleBasedStateMachine):
    """Random runs on random workers with random accidents."""

    @initialize()
    def begin(self) -> None:
        self.sim = Sim(
            SimWorker("v", slots=1),
            SimWorker("w", slots=2),
            settings=Settings(restart_grace=0, lost_after=100, lease=20, lease_margin=5),
        )

    @rule(what=plans(), sha=st.sampled_from(["1", "2"]))
    def submit(self, what: Plan, sha: str) -> None:
        if len(self.sim.engine.unfinished()) < 4:
            self.sim.submit(what, source=m.Source(ref="main", sha=sha), projects=[ORIGIN])

    @rule(outcome=st.sampled_from([S.SUCCESS, S.SUCCESS, S.FAILED]), times=st.integers(1, 5))
    def work(self, outcome: S, times: int) -> None:
        for _ in range(times):
            self.sim.step(lambda _: outcome)

    @rule(name=st.sampled_from(["v", "w"]))
    def cut_off(self, name: str) -> None:
        self.sim.workers[name].connected = False

    @rule(name=st.sampled_from(["v", "w"]))
    def come_back(self, name: str) -> None:
        self.sim.hello(name)

    @rule(name=st.sampled_from(["v", "w"]), seed=st.integers(0, 5))
    def lose_a_container(self, name: str, seed: int) -> None:
        worker = self.sim.workers[name]
        if worker.has:
            worker.forget(sorted(worker.has)[seed % len(worker.has)])
            self.sim.hello(name)

    @rule(name=st.sampled_from(["v", "w"]), seed=st.integers(0, 5))
    def lose_a_container_without_a_word(self, name: str, seed: int) -> None:
        worker = self.sim.workers[name]
        if worker.has:
            worker.forget(sorted(worker.has)[seed % len(worker.has)])

    @rule(name=st.sampled_from(["v", "w"]), on=st.booleans())
    def drain(self, name: str, on: bool) -> None:
        self.sim.engine.drain(m.DrainWorker(id=1, worker=name, on=on), self.sim.now)
        self.sim.flush()

    @rule(seconds=st.sampled_from([1.0, 21.0, 26.0, 101.0]))
    def wait(self, seconds: float) -> None:
        for worker in self.sim.workers.values():
            if not worker.connected and seconds > 20:  # its own lease makes it stop what moves
                for attempt, assigned in list(worker.has.items()):
                    if assigned.lease is not None:
                        worker.forget(attempt)
        self.sim.pass_time(seconds)

    @precondition(lambda self: self.sim.runs)
    @rule(seed=st.integers(0, 100), action=st.sampled_from(["cancel", "cancel_job", "retry", "retry_job", "play"]))
    def act(self, seed: int, action: str) -> None:
        run = list(self.sim.runs.values())[seed % len(self.sim.runs)]
        jobs = [j for stage in run.stages for j in stage.jobs]
        name = jobs[seed % len(jobs)].plan.name
        unfinished = self.sim.engine.unfinished()
        finished = {run.id: run for run in self.sim.runs.values() if run.id not in unfinished}
        engine, now = self.sim.engine, self.sim.now
        try:
            match action:
                case "cancel":
                    engine.cancel(m.Cancel(id=1, run=run.id), now)
                    assert all(below.canceling for below in self.descendants(run))
                case "cancel_job":
                    engine.cancel(m.Cancel(id=1, run=run.id, job=name), now)
                case "retry":
                    engine.retry(m.Retry(id=1, run=run.id), now, finished=finished)
                case "retry_job":
                    engine.retry(m.Retry(id=1, run=run.id, job=name), now, finished=finished)
                case "play":
                    engine.play(m.Play(id=1, run=run.id, job=name), now, finished=finished)
        except ProtocolError:
            pass
        self.sim.flush()

    @rule(seed=st.integers(0, 100), value=st.sampled_from(["1", "2", "3"]))
    def set_an_input(self, seed: int, value: str) -> None:
        unfinished = self.sim.engine.unfinished()
        finished = {run.id: run for run in self.sim.runs.values() if run.id not in unfinished}
        jobs = [j for run in self.sim.runs.values() for stage in run.stages for j in stage.jobs if j.plan.inputs]
        if ready := [j for j in jobs if j.status in (S.MANUAL, *ENDED)]:
            j = ready[seed % len(ready)]
            with suppress(ProtocolError):
                if j.status is S.MANUAL:
                    play = m.Play(id=1, run=j.run_id, job=j.plan.name, inputs={"x": value})
                    self.sim.engine.play(play, self.sim.now, finished=finished)
                else:
                    retry = m.Retry(id=1, run=j.run_id, job=j.plan.name, inputs={"x": value})
                    self.sim.engine.retry(retry, self.sim.now, finished=finished)
            self.sim.flush()

    @rule()
    def stop_environment(self) -> None:
        with suppress(ProtocolError):
            self.sim.stop_environment("e")

    @precondition(lambda self: self.sim.wanted)
    @rule(what=plans() | st.none(), seed=st.integers(0, 5))
    def compile(self, what: Plan | None, seed: int) -> None:
        attempt = sorted(self.sim.wanted)[seed % len(self.sim.wanted)]
        del self.sim.wanted[attempt]
        if what is None:
            self.sim.engine.child_refused(attempt, ["child.yml:1: is no good"], self.sim.now)
        else:
            origin = self.sim.origins[attempt]
            self.sim.engine.child_compiled(attempt, what, origin, self.sim.now)
            assert self.sim.engine.child_compiled(attempt, what, origin, self.sim.now) is None
        self.sim.flush()

    @precondition(lambda self: self.sim.looked_for)
    @rule(found=st.booleans(), seed=st.integers(0, 100))
    def look_up(self, found: bool, seed: int) -> None:
        id, wanted = sorted(self.sim.looked_for.items())[seed % len(self.sim.looked_for)]
        del self.sim.looked_for[id]
        engine, now = self.sim.engine, self.sim.now
        if wanted.mirrors:
            latest = list(self.sim.runs.values())[seed % len(self.sim.runs)]
            engine.mirrored(id, LatestRun(latest.id, PROJECT, latest.status) if found else None, now)
        elif found:
            engine.upstream_found(id, [Dependency(job="other", status=S.SUCCESS, satisfied=True)], now)
        else:
            engine.upstream_missing(id, ["there is no such job"], now)
        self.sim.flush()

    @rule()
    def crash_coordinator(self) -> None:
        self.sim.restart()
        for worker in self.sim.workers.values():
            if worker.connected:
                self.sim.hello(worker.name)

    @invariant()
    def no_attempt_starts_twice(self) -> None:
        attempts = [attempt for attempt, _ in self.sim.starts] if hasattr(self, "sim") else []
        assert len(attempts) == len(set(attempts))

    @invariant()
    def every_job_at_a_worker_has_the_values_that_its_user_has_set(self) -> None:
        for worker in self.sim.workers.values() if hasattr(self, "sim") else ():
            for attempt, assigned in worker.has.items():
                found = self.sim.engine._ledger.find_attempt(attempt)
                if found is not None and found[0].plan.inputs and worker.connected:
                    j, current = found
                    assert current.inputs == {"x": j.inputs.get("x", 0)}
                    assert assigned.job.script == [str(current.inputs["x"])]

    @invariant()
    def slots_are_counted_right(self) -> None:
        for worker in self.sim.engine.workers().values() if hasattr(self, "sim") else ():
            active = sum(attempt.released for attempt in worker.attempts.values())
            assert (worker.active, worker.held) == (active, len(worker.attempts) - active)

    @invariant()
    def no_worker_is_shown_with_more_running_than_it_has_slots(self) -> None:
        for view in self.sim.engine.worker_views() if hasattr(self, "sim") else ():
            has = self.sim.engine.workers()[view.name].attempts
            assert 0 <= view.running <= view.slots
            assert view.running + view.waiting == len(has) == len(view.jobs)

    @invariant()
    def tallies_and_statuses_agree(self) -> None:
        for run_id, run in self.sim.engine.unfinished().items() if hasattr(self, "sim") else ():
            index = self.sim.engine._ledger.indexes[run_id]
            fresh = type(index)(run)
            assert +index.total.statuses == +fresh.total.statuses
            assert +index.total.parts == +fresh.total.parts
            assert run.status not in ENDED
            assert index.total.open

    @invariant()
    def every_job_that_does_not_run_says_why(self) -> None:
        for run in self.sim.engine.unfinished().values() if hasattr(self, "sim") else ():
            for stage in run.stages:
                for j in stage.jobs:
                    if j.status in (S.CREATED, S.PENDING, S.WAITING):
                        assert j.pending_reason, (run.id, j.plan.name, j.status)

    def descendants(self, run: RunState) -> list[RunState]:
        """The unfinished runs below this one that belong to its family."""
        started = (each for each in self.sim.engine.unfinished().values() if each.parent and each.parent.run == run.id)
        children = [each for each in started if not is_downstream(each)]
        return [*children, *(below for child in children for below in self.descendants(child))]

    @invariant()
    def each_attempt_of_a_trigger_starts_at_most_one_child(self) -> None:
        if hasattr(self, "sim"):
            tokens = [run.token for run in self.sim.runs.values()]
            assert len(tokens) == len(set(tokens))
            for j in (j for run in self.sim.runs.values() for stage in run.stages for j in stage.jobs):
                assert len(set(j.child_runs)) == len(j.child_runs) <= len(j.attempts)
                for child in j.child_runs:
                    parent = self.sim.runs[child].parent
                    assert parent is not None
                    assert (parent.run, parent.job) == (j.run_id, j.plan.name)
                    assert parent.level <= 2

    @invariant()
    def a_job_that_waits_for_its_child_runs_exactly_as_long_as_it(self) -> None:
        unfinished = self.sim.engine.unfinished() if hasattr(self, "sim") else {}
        for j in (j for run in unfinished.values() for stage in run.stages for j in stage.jobs):
            if j.plan.trigger is not None and j.status is S.RUNNING:
                assert j.plan.trigger.strategy != "none"
                assert j.child_runs[-1] in unfinished
            elif j.plan.trigger is not None and j.status in ENDED and j.attempt and j.attempt.started_at:
                child = self.sim.runs[j.child_runs[-1]]
                played = (each for stage in child.stages for each in stage.jobs if each.played)
                stops = any(each.plan.environment and each.plan.environment.action == "stop" for each in played)
                # A child continues alone to stop its environment, and a run of another project in any case.
                assert child.id not in unfinished or stops or is_downstream(child)

    @invariant()
    def a_job_whose_child_is_compiled_has_an_open_attempt_that_asked_for_it(self) -> None:
        unfinished = self.sim.engine.unfinished() if hasattr(self, "sim") else {}
        for j in (j for run in unfinished.values() for stage in run.stages for j in stage.jobs):
            if j.plan.trigger is not None and (j.pending_reason or "").endswith("is being compiled"):
                assert j.attempt is not None
                assert j.attempt.id in self.sim.wanted

    @invariant()
    def a_job_that_mirrors_a_run_waits_exactly_as_long_as_it_goes_on(self) -> None:
        unfinished = self.sim.engine.unfinished() if hasattr(self, "sim") else {}
        for j in (j for run in unfinished.values() for stage in run.stages for j in stage.jobs):
            if j.plan.mirrors and j.status is S.RUNNING:
                assert j.external is not None
                assert j.external.mirrors in unfinished
            elif (j.plan.mirrors or (j.plan.external_needs and j.external is None)) and j.status is S.PENDING:
                assert j.id in self.sim.looked_for or "resource group" in (j.pending_reason or "")

    @invariant()
    def no_run_waits_for_itself(self) -> None:
        ledger = self.sim.engine._ledger if hasattr(self, "sim") else None
        for run in ledger.runs.values() if ledger else ():
            for j in (j for stage in run.stages for j in stage.jobs):
                awaited = ledger.awaited(j) if ledger else None
                assert awaited is None or not (ledger and ledger.waits_for(awaited, run))

    @invariant()
    def an_environment_is_being_stopped_exactly_as_long_as_a_job_does_so(self) -> None:
        known = self.sim.engine._ledger.environments if hasattr(self, "sim") else {}
        for environment in known.values():
            assert asdict(self.sim.environments[environment.key]) == asdict(environment)
            assert (environment.status is EnvironmentStatus.STOPPING) is bool(environment.stopping)
            for id in environment.stopping:
                j = self.sim.engine._ledger.jobs[id]
                assert j.status not in ENDED
                assert j.run_id >= environment.deployment.run
        if hasattr(self, "sim"):
            for environment in self.sim.environments.values():
                assert (environment.status is EnvironmentStatus.STOPPED) is (environment.key not in known)

    @invariant()
    def a_lock_has_one_holder(self) -> None:
        holders: list[JobState] = []
        for run in self.sim.engine.unfinished().values() if hasattr(self, "sim") else ():
            for stage in run.stages:
                for j in stage.jobs:
                    if j.plan.resource_group and self.sim.engine._ledger.holder_of(j.attempt):
                        holders.append(j)
        assert len(holders) <= 1

    def teardown(self) -> None:
        """When all accidents are over, every run ends (once its manual jobs are canceled)."""
        if not hasattr(self, "sim"):
            return
        sim = self.sim
        for name in sim.workers:
            sim.engine.drain(m.DrainWorker(id=1, worker=name, on=False), sim.now)
            sim.hello(name)
        for _ in range(2000):
            if not sim.engine.unfinished():
                break
            if not sim.step(lambda _: S.SUCCESS):
                sim.pass_time(16.0)
                if not sim.step(lambda _: S.SUCCESS):
                    stuck = {r.id: (r.status, sim.statuses(r)) for r in sim.engine.unfinished().values()}
                    raise AssertionError(f"stuck: {stuck}")
        assert not sim.engine.unfinished()
        for run in sim.runs.values():
            assert run.status in ENDED
            for stage in run.stages:
                for j in stage.jobs:
                    assert j.status in ENDED or (j.status is S.MANUAL and j.plan.allow_failure)
        assert not any(worker.has for worker in sim.workers.values())


Coordinator.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCoordinator = Coordinator.TestCase
