"""Environments: deployed to by jobs that succeed, stopped by the job that `on_stop` names, on request or when due."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.engine.state import EnvironmentState, RunState
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.plan import EnvironmentSpec, JobPlan, Plan
from protocol.statuses import EnvironmentStatus
from protocol.statuses import ExecutionStatus as S
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import PROJECT, job, plan, trigger

DAY = 86_400.0


def deploy(name: str = "deploy", *, on_stop: str = "stop", **fields: Any) -> JobPlan:
    """A job that deploys to `review`; further keywords are EnvironmentSpec's."""
    spec = EnvironmentSpec(name="review", slug="review", tier="development", on_stop=on_stop, **fields)
    return job(name, "deploy", environment=spec)


def stop(name: str = "stop") -> JobPlan:
    """A manual job that stops `review`."""
    spec = EnvironmentSpec(name="review", action="stop")
    return job(name, "deploy", needs=[], environment=spec, when="manual", allow_failure=True)


def environment(sim: Sim) -> EnvironmentState:
    """The environment `review` as the store has it."""
    return sim.environments[PROJECT, "review"]


def states(sim: Sim) -> tuple[str, str | None]:
    return environment(sim).status.value, environment(sim).message


def run_through(sim: Sim, what: Plan, *names: str, **fields: Any) -> RunState:
    """A run of which these jobs succeed."""
    run = sim.submit(what, **fields)
    for name in names:
        sim.start(run, name)
        sim.succeed(run, name)
    return run


def succeed(sim: Sim, run: RunState, name: str = "stop") -> None:
    sim.start(run, name)
    sim.succeed(run, name)


def test_a_job_that_succeeds_deploys_and_one_that_fails_does_not() -> None:
    sim = Sim(SimWorker("w"))
    what = plan(deploy(url="https://$CI_PIPELINE_ID.example.com"), stop())
    run = sim.submit(what, source=m.Source(ref="main", sha="abc"))
    sim.start(run, "deploy")
    sim.fail(run, "deploy")
    assert not sim.environments
    sim.engine.retry(m.Retry(id=1, run=run.id), sim.now, finished={run.id: run})
    sim.flush()
    sim.wall += 5
    succeed(sim, run, "deploy")
    found = environment(sim)
    assert found.url == f"https://{run.id}.example.com"
    assert (found.deployment.run, found.deployment.job, found.deployment.at) == (run.id, "deploy", sim.wall)
    assert (found.deployment.ref, found.deployment.sha) == ("main", "abc")
    assert states(sim) == ("available", None)


def test_the_stop_job_of_a_run_that_has_ended_is_played_and_stops_the_environment() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(), stop()), "deploy")
    assert run.status is S.SUCCESS
    assert sim.stop_environment("review") == 1
    assert states(sim) == ("stopping", None)
    assert run.status is S.RUNNING or run.status is S.PENDING
    succeed(sim, run)
    assert states(sim) == ("stopped", f"by job stop of run {run.id}")
    assert environment(sim).stopped_at == sim.wall
    with pytest.raises(ProtocolError, match="no environment 'review' is deployed"):
        sim.stop_environment("review")


def test_a_stop_job_that_was_played_by_hand_stops_the_environment_too() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(), stop()), "deploy")
    sim.engine.play(m.Play(id=1, run=run.id, job="stop"), sim.now, finished={run.id: run})
    sim.flush()
    succeed(sim, run)
    assert states(sim)[0] == "stopped"


def test_it_is_stopped_again_by_the_same_job_after_another_deployment() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(), stop()), "deploy")
    sim.stop_environment("review")
    succeed(sim, run)
    sim.engine.retry(m.Retry(id=1, run=run.id, job="deploy"), sim.now, finished={run.id: run})
    sim.flush()
    succeed(sim, run, "deploy")
    assert states(sim) == ("available", None)
    sim.stop_environment("review")
    succeed(sim, run)
    assert states(sim)[0] == "stopped"


def test_a_stop_job_runs_although_an_earlier_stage_failed() -> None:
    sim = Sim(SimWorker("w"))
    after = job("stop", "later", when="manual", environment=EnvironmentSpec(name="review", action="stop"))
    run = run_through(sim, plan(deploy(), job("test", "test"), after, stages=["deploy", "test", "later"]), "deploy")
    sim.start(run, "test")
    sim.fail(run, "test")
    assert sim.statuses(run)["stop"] == "skipped"
    sim.stop_environment("review")
    succeed(sim, run)
    assert states(sim)[0] == "stopped"
    assert sim.statuses(run) == {"deploy": "success", "test": "failed", "stop": "success"}


def test_one_that_can_t_be_played_yet_is_waited_for() -> None:
    sim = Sim(SimWorker("w"))
    after = job("stop", "later", when="manual", environment=EnvironmentSpec(name="review", action="stop"))
    what = plan(deploy(auto_stop_in=10.0), job("test", "test"), after, stages=["deploy", "test", "later"])
    run = run_through(sim, what, "deploy")
    with pytest.raises(ProtocolError, match="job 'stop' of run 1, which is created"):
        sim.stop_environment("review")
    sim.pass_time(11)
    assert states(sim)[0] == "available"
    succeed(sim, run, "test")
    sim.pass_time(1)
    assert states(sim)[0] == "stopping"


@pytest.mark.parametrize("end", [S.FAILED, S.CANCELED])
def test_a_stop_job_that_does_not_succeed_leaves_it_as_it_is(end: S) -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(auto_stop_in=10.0), stop()), "deploy")
    sim.pass_time(11)
    sim.start(run, "stop")
    sim.report(sim.attempt_of(run, "stop"), end, exit_code=1)
    assert states(sim) == ("available", f"job stop of run {run.id}, which stops it, is {end.value}")
    sim.pass_time(DAY)  # tried once
    assert states(sim)[0] == "available"
    sim.stop_environment("review")
    succeed(sim, run)
    assert states(sim)[0] == "stopped"


def test_without_a_stop_job_it_is_just_stopped() -> None:
    sim = Sim(SimWorker("w"))
    run_through(sim, plan(deploy(on_stop="", auto_stop_in=10.0)), "deploy")
    sim.pass_time(9.5)
    assert states(sim)[0] == "available"
    sim.pass_time(1)
    assert states(sim) == ("stopped", "its time was up (auto_stop_in)")


def test_if_the_run_lacks_the_stop_job_it_is_stopped_and_says_so() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy()), "deploy")
    assert sim.stop_environment("review") == 0
    assert states(sim) == ("stopped", f"run {run.id} has no job stop")


def test_a_new_deployment_counts_from_the_start_and_one_without_auto_stop_stays() -> None:
    sim = Sim(SimWorker("w"))
    run_through(sim, plan(deploy(auto_stop_in=10.0), stop()), "deploy")
    sim.pass_time(8)
    second = run_through(sim, plan(deploy(auto_stop_in=10.0), stop()), "deploy")
    sim.pass_time(8)
    assert states(sim)[0] == "available"
    sim.pass_time(3)
    assert environment(sim).status is EnvironmentStatus.STOPPING
    succeed(sim, second)
    assert states(sim)[0] == "stopped"
    run_through(sim, plan(deploy(auto_stop_in=10.0), stop()), "deploy")
    run_through(sim, plan(deploy(), stop()), "deploy")
    sim.pass_time(DAY)
    assert states(sim)[0] == "available"


@pytest.mark.parametrize(("action", "later"), [("prepare", True), ("access", True), ("verify", False)])
def test_who_prepares_or_uses_it_extends_its_time_and_who_verifies_it_does_not(action: str, later: bool) -> None:
    sim = Sim(SimWorker("w"))
    uses = job("use", environment=EnvironmentSpec(name="review", action=action))
    run_through(sim, plan(uses), "use")
    assert not sim.environments
    first = run_through(sim, plan(deploy(auto_stop_in=10.0), stop()), "deploy")
    sim.pass_time(8)
    run_through(sim, plan(uses), "use")
    assert environment(sim).deployment.run == first.id
    sim.pass_time(3)
    assert (states(sim)[0] == "available") is later


def test_an_older_run_s_stop_job_does_not_stop_a_newer_deployment() -> None:
    sim = Sim(SimWorker("w", slots=4))
    first = run_through(sim, plan(deploy(), stop()), "deploy")
    run_through(sim, plan(deploy(), stop()), "deploy")
    sim.engine.play(m.Play(id=1, run=first.id, job="stop"), sim.now, finished={first.id: first})
    sim.flush()
    succeed(sim, first)
    assert states(sim) == ("available", None)


def test_a_stop_under_way_does_not_stop_what_is_deployed_meanwhile() -> None:
    sim = Sim(SimWorker("w", slots=4))
    first = run_through(sim, plan(deploy(), stop()), "deploy")
    sim.stop_environment("review")
    sim.start(first, "stop")
    second = run_through(sim, plan(deploy(), stop()), "deploy")
    sim.succeed(first, "stop")
    assert states(sim) == ("available", None)
    assert environment(sim).deployment.run == second.id


def test_an_older_deployment_may_be_retried_and_is_then_the_one_to_stop() -> None:
    sim = Sim(SimWorker("w"))
    first = run_through(sim, plan(deploy(), stop()), "deploy")
    run_through(sim, plan(deploy(), stop()), "deploy")
    sim.engine.retry(m.Retry(id=1, run=first.id, job="deploy"), sim.now, finished={first.id: first})
    sim.flush()
    succeed(sim, first, "deploy")
    assert environment(sim).deployment.run == first.id
    sim.stop_environment("review")
    succeed(sim, first)
    assert states(sim)[0] == "stopped"


def test_all_stop_jobs_of_the_last_run_s_deployments_run_and_all_must_succeed() -> None:
    sim = Sim(SimWorker("w", slots=4))
    what = plan(deploy("a", on_stop="stop a"), deploy("b", on_stop="stop b"), stop("stop a"), stop("stop b"))
    run = run_through(sim, what, "a", "b")
    assert sim.stop_environment("review") == 2
    succeed(sim, run, "stop a")
    assert states(sim)[0] == "stopping"
    succeed(sim, run, "stop b")
    assert states(sim)[0] == "stopped"


def test_what_is_due_outlives_the_coordinator_and_a_reboot() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(auto_stop_in=100.0), stop()), "deploy")
    sim.wall -= 5000  # the clock is set back: the time goes on
    sim.mono += 60
    sim.restart()
    sim.hello("w")
    sim.pass_time(30)
    assert states(sim)[0] == "available"
    sim.boot, sim.mono = "second boot", 5.0
    sim.wall = environment(sim).auto_stop_at or 0.0
    sim.restart()
    sim.hello("w")
    sim.pass_time(0.5)
    assert states(sim)[0] == "stopping"
    sim.restart()
    sim.hello("w")
    succeed(sim, sim.runs[run.id])
    assert states(sim)[0] == "stopped"


def test_a_stop_job_whose_run_can_t_be_restored_leaves_the_environment_available() -> None:
    sim = Sim(SimWorker("w"))
    run = run_through(sim, plan(deploy(), stop()), "deploy")
    sim.stop_environment("review")
    sim.restart(without=run.id)
    assert states(sim) == ("available", "the run of its stop job can't be read")


def test_a_child_run_s_stop_job_starts_nothing_again_in_its_parent() -> None:
    sim = Sim(SimWorker("w"))
    what = plan(trigger("start", strategy="depend"), job("production", "deploy", needs=["start"]))
    parent = sim.submit(what)
    child = sim.compiled(parent, "start", plan(deploy(auto_stop_in=10.0), stop()))
    succeed(sim, child, "deploy")
    succeed(sim, parent, "production")
    assert parent.status is S.SUCCESS
    sim.pass_time(11)
    succeed(sim, child)
    assert states(sim)[0] == "stopped"
    assert [len(sim.job(parent, name).attempts) for name in ("start", "production")] == [1, 1]
    assert (parent.status, child.status) == (S.SUCCESS, S.SUCCESS)


def test_environments_of_two_projects_are_told_apart() -> None:
    sim = Sim(SimWorker("w"))
    run_through(sim, plan(deploy(on_stop="")), "deploy")
    run_through(sim, plan(deploy(on_stop=""), project="other"), "deploy")
    with pytest.raises(ProtocolError, match=f"name one of {PROJECT}, other"):
        sim.stop_environment("review")
    sim.stop_environment("review", "other")
    assert sim.environments["other", "review"].status is EnvironmentStatus.STOPPED
    assert states(sim)[0] == "available"
    with pytest.raises(ProtocolError, match="there are review"):
        sim.stop_environment("production")


@pytest.mark.parametrize("spec", [EnvironmentSpec(name="x" * 256), EnvironmentSpec(name="x", auto_stop_in=1e12)])
def test_a_plan_with_an_unsound_environment_is_refused(spec: EnvironmentSpec) -> None:
    with pytest.raises(ProtocolError):
        Sim().submit(plan(job(environment=spec)))
