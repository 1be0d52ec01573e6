"""Inputs of jobs: the values that attempts get, and those that are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.engine.views import attempt_view, job_view
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.plan import EnvironmentSpec, JobInput, JobPlan, RetrySpec
from protocol.statuses import ExecutionStatus as S
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan, trigger

DEPLOYMENT = {
    "env": JobInput(default="staging", options=["staging", "production"]),
    "replicas": JobInput(type="number", default=3),
    "dry": JobInput(type="boolean", default=False),
    "hosts": JobInput(type="array", default=["a"]),
    "version": JobInput(default="1.0", regex=r"^\d"),
}
DEFAULTS = {name: spec.default for name, spec in DEPLOYMENT.items()}


def deploy(**fields: Any) -> JobPlan:
    script = 'deploy ${{ job.inputs.env }} ${{ job.inputs.replicas }} ${{ job.inputs.dry && "-n" || "" }}'
    return job("deploy", script=script, inputs=DEPLOYMENT, **({"when": "manual"} | fields))


def play(sim: Sim, run: int, name: str = "deploy", **inputs: str) -> None:
    sim.engine.play(m.Play(id=1, run=run, job=name, inputs=inputs), sim.now, finished={run: sim.runs[run]})
    sim.flush()


def retry(sim: Sim, run: int, name: str | None = "deploy", **inputs: str) -> None:
    finished = {run: sim.runs[run]}
    sim.engine.retry(m.Retry(id=1, run=run, job=name, inputs=inputs), sim.now, finished=finished)
    sim.flush()


def assigned(sim: Sim) -> list[str]:
    (assignment,) = sim.workers["w"].has.values()
    assert assignment.job.inputs == {}
    return assignment.job.script


def test_a_job_that_nobody_sets_inputs_of_gets_the_defaults() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(deploy(when="on_success", image="i:${{ job.inputs.env }}"), job("other")))
    (assignment, other) = sim.workers["w"].has.values()
    assert (assignment.job.script, assignment.job.image.name) == (["deploy staging 3 "], "i:staging")
    assert [attempt_view(sim.job(run, "deploy"), each).inputs for each in sim.job(run, "deploy").attempts] == [DEFAULTS]
    assert [attempt_view(sim.job(run, "other"), each).inputs for each in sim.job(run, "other").attempts] == [{}]
    assert other.job is sim.job(run, "other").plan


def test_a_played_job_gets_the_values_of_its_user_and_keeps_them_when_retried() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(deploy()))
    play(sim, run.id, env="production", replicas="5", dry="true", hosts='["b", "c"]', version="2")
    assert assigned(sim) == ["deploy production 5 -n"]
    values = {"env": "production", "replicas": 5, "dry": True, "hosts": ["b", "c"], "version": "2"}
    assert sim.job(run, "deploy").attempt.inputs == values
    sim.finish(run)
    retry(sim, run.id)
    assert assigned(sim) == ["deploy production 5 -n"]
    sim.finish(run)
    retry(sim, run.id, replicas="6.50")
    assert assigned(sim) == ["deploy production 6.5 -n"]
    first, second, third = sim.job(run, "deploy").attempts
    assert (first.inputs, second.inputs, third.inputs) == (values, values, values | {"replicas": 6.5})


def test_automatic_retries_and_retries_because_of_another_job_keep_the_values() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("make"), deploy(needs=["make"], retry=RetrySpec(max=1))))
    sim.start(run, "make")
    sim.succeed(run, "make")
    play(sim, run.id, env="production")
    sim.start(run, "deploy")
    sim.fail(run, "deploy")
    sim.restart()
    sim.hello("w")
    run = sim.runs[run.id]
    assert assigned(sim) == ["deploy production 3 "]
    sim.finish(run)
    retry(sim, run.id, "make")
    sim.start(run, "make")
    sim.succeed(run, "make")
    play(sim, run.id)
    assert assigned(sim) == ["deploy production 3 "]


def test_a_resent_assignment_has_the_values_of_its_attempt() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(deploy()))
    play(sim, run.id, env="production")
    attempt = sim.attempt_of(run, "deploy")
    sim.workers["w"].forget(attempt)
    sim.restart()
    sim.hello("w")
    assert assigned(sim) == ["deploy production 3 "]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"enviroment": "x"}, "job 'deploy' has no input 'enviroment'; its inputs are env, replicas, dry, hosts"),
        ({"env": "prod"}, "input 'env' of job 'deploy': 'prod' is not among the input's options: 'staging', 'prod"),
        ({"replicas": "many"}, "input 'replicas' of job 'deploy': 'many' is not of type number; write 3.14"),
        ({"replicas": "true"}, "'true' is not of type number"),
        ({"replicas": "1e999"}, "'1e999' is not of type number"),
        ({"dry": "yes"}, "'yes' is not of type boolean; write true or false"),
        ({"hosts": "a,b"}, "'a,b' is not of type array; write a JSON array such as"),
        ({"hosts": "[" * 100_000}, "is longer than 65,536 characters"),
        ({"hosts": "[" * 60_000}, "is not of type array"),
        ({"hosts": "[" * 300 + "]" * 300}, "it is nested more than"),
        ({"version": "v1"}, r"'v1' does not match the input's regular expression ^\d"),
    ],
)
def test_a_value_that_an_input_can_t_have_is_refused_before_anything_starts(
    inputs: dict[str, str], reason: str
) -> None:
    sim = Sim(SimWorker("w"))
    manual, ended = sim.submit(plan(deploy())), sim.submit(plan(deploy()))
    play(sim, ended.id)
    sim.finish(ended)
    with pytest.raises(ProtocolError) as refused:
        play(sim, manual.id, **inputs)
    assert reason in str(refused.value)
    with pytest.raises(ProtocolError) as refused:
        retry(sim, ended.id, **inputs)
    assert reason in str(refused.value)
    assert not sim.workers["w"].has
    assert (sim.statuses(manual), sim.statuses(ended)) == ({"deploy": "manual"}, {"deploy": "success"})
    assert not sim.job(manual, "deploy").inputs
    assert not sim.job(ended, "deploy").inputs


def test_a_value_without_which_an_expression_has_none_is_refused() -> None:
    sim = Sim(SimWorker("w"))
    half = job(
        "half", script="${{ 1 / job.inputs.n }}", when="manual", inputs={"n": JobInput(type="number", default=2)}
    )
    run = sim.submit(plan(half))
    with pytest.raises(ProtocolError, match=r"job 'half': .* it divides by zero"):
        play(sim, run.id, "half", n="0")
    assert sim.statuses(run) == {"half": "manual"}


def test_jobs_without_inputs_and_whole_runs_take_none() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("job", when="manual"), trigger("child", when="manual")))
    for name in ("job", "child"):
        with pytest.raises(ProtocolError, match=f"job '{name}' has no input 'x'; it has none"):
            play(sim, run.id, name, x="1")
    run = sim.submit(plan(deploy(when="on_success")))
    sim.finish(run, lambda _: S.FAILED)
    with pytest.raises(ProtocolError, match="inputs are those of one job: name the job"):
        retry(sim, run.id, None, env="production")


def test_a_plan_whose_expressions_are_wrong_is_refused() -> None:
    sim = Sim(SimWorker("w"))
    wrong = job("wrong", script="${{ job.inputs.y }}", inputs={"x": JobInput(default="")})
    with pytest.raises(ProtocolError, match=r"job 'wrong': .* there is no 'y' among x"):
        sim.submit(plan(wrong))


def test_a_plan_whose_expressions_are_too_large_together_is_refused() -> None:
    sim = Sim(SimWorker("w"))
    large: dict[str, Any] = {"script": "${{ job.inputs.x }}" + " " * 400_000, "inputs": {"x": JobInput(default="")}}
    assert sim.submit(plan(*(job(f"job {number}", **large) for number in range(5))))
    with pytest.raises(ProtocolError, match=r"job 'job 5': .* more than 2,097,152 characters together"):
        sim.submit(plan(*(job(f"job {number}", **large) for number in range(20))))


def test_the_story_and_the_address_of_the_environment_follow_the_inputs() -> None:
    sim = Sim(SimWorker("w"))
    there = EnvironmentSpec(name="here", url="https://$CI_JOB_IMAGE")
    run = sim.submit(plan(deploy(image="host-${{ job.inputs.env }}", environment=there)))
    play(sim, run.id, env="production", replicas="1")
    played = sim.job(run, "deploy")
    assert job_view(played, sim.engine._ledger.indexes[run.id]).environment_url == "https://host-production"
    told = [line.text for turn in sim.turns for line in turn.stories]
    assert "played, with env, replicas" in told
