"""Retrying and playing: what runs again, what has to be asked for again, and what can't, for its artifacts are gone."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.engine.state import JobState, RunState
from protocol import messages as m
from protocol.plan import ArtifactsSpec
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import ArtifactRef
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan

ARCHIVE = ArtifactRef(kind="archive", digest="d" * 64, size=3)
KEPT_A_MINUTE = ArtifactsSpec(paths=["out"], expire_in=60.0)


def retry(sim: Sim, run: RunState, name: str | None = None) -> None:
    sim.engine.retry(m.Retry(id=1, run=run.id, job=name), sim.now, finished={run.id: run})
    sim.flush()


def failing(name: str) -> Callable[[JobState], S]:
    return lambda job: S.FAILED if job.plan.name == name else S.SUCCESS


def test_a_manual_job_that_was_skipped_is_asked_for_when_the_run_is_retried() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("test"), job("deploy", "deploy", when="manual")))
    sim.finish(run, failing("test"))
    assert sim.statuses(run) == {"test": "failed", "deploy": "skipped"}
    retry(sim, run)
    sim.start(run, "test")
    sim.succeed(run, "test")
    assert sim.statuses(run) == {"test": "success", "deploy": "manual"}
    assert sim.job(run, "deploy").pending_reason == "waits to be played"


def test_a_manual_job_that_depends_on_a_retried_one_is_asked_for_again() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("make"), job("deploy", needs=["make"], when="manual")))
    sim.start(run, "make")
    sim.succeed(run, "make")
    sim.engine.play(m.Play(id=1, run=run.id, job="deploy"), sim.now)
    sim.flush()
    sim.finish(run)
    retry(sim, run, "make")
    sim.start(run, "make")
    sim.succeed(run, "make")
    assert sim.statuses(run) == {"make": "success", "deploy": "manual"}


def test_a_manual_job_that_was_played_is_retried_without_being_asked_for() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("deploy", when="manual")))
    sim.engine.play(m.Play(id=1, run=run.id, job="deploy"), sim.now)
    sim.flush()
    sim.finish(run, failing("deploy"))
    retry(sim, run)
    assert sim.statuses(run) == {"deploy": "pending"}


def test_a_job_whose_artifacts_have_expired_since_the_run_ended_fails_for_want_of_them() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("make", "build", artifacts=KEPT_A_MINUTE), job("use"), job("after", "later")))
    sim.start(run, "make")
    sim.succeed(run, "make", artifacts=[ARCHIVE])
    sim.finish(run, failing("use"))
    sim.pass_time(61)
    retry(sim, run, "use")
    use = sim.job(run, "use")
    assert sim.statuses(run) == {"make": "success", "use": "failed", "after": "skipped"}
    assert use.failure_reason is FailureReason.MISSING_DEPENDENCY_FAILURE
    assert "make" in (use.message or "")
    assert run.status is S.FAILED
    retry(sim, run, "make")
    sim.start(run, "make")
    sim.succeed(run, "make", artifacts=[ARCHIVE])
    sim.finish(run)
    assert sim.statuses(run) == {"make": "success", "use": "success", "after": "success"}


def test_artifacts_do_not_expire_while_their_run_is_under_way() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("make", "build", artifacts=KEPT_A_MINUTE), job("use", when="manual")))
    sim.start(run, "make")
    sim.succeed(run, "make", artifacts=[ARCHIVE])
    sim.pass_time(61)
    sim.engine.play(m.Play(id=1, run=run.id, job="use"), sim.now)
    sim.flush()
    sim.finish(run)
    assert run.status is S.SUCCESS


def test_an_optional_manual_job_is_not_played_on_artifacts_that_have_expired() -> None:
    sim = Sim(SimWorker("w"))
    optional = job("use", when="manual", allow_failure=True)
    run = sim.submit(plan(job("make", "build", artifacts=KEPT_A_MINUTE), optional))
    sim.start(run, "make")
    sim.succeed(run, "make", artifacts=[ARCHIVE])
    assert run.status is S.SUCCESS
    sim.pass_time(61)
    sim.engine.play(m.Play(id=1, run=run.id, job="use"), sim.now, finished={run.id: run})
    sim.flush()
    assert sim.job(run, "use").failure_reason is FailureReason.MISSING_DEPENDENCY_FAILURE
