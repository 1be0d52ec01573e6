"""Runs of other projects, and jobs that need something of other pipelines: what the engine asks, takes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.engine.effects import LookUp
from coordinator.engine.state import RunState
from coordinator.engine.upstreams import LatestRun
from coordinator.engine.views import job_view
from protocol import messages as m
from protocol.messages import Dependency, Origin, Source
from protocol.plan import ExternalNeed, Plan
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import ArtifactRef, ParentJob
from protocol.workspace import TarWorkspace
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import PROJECT, job, plan, trigger, variables

OTHER = "group/other"
DOWNSTREAM = plan(job("work"), project=OTHER)
ARCHIVE = ArtifactRef(kind="archive", digest="d" * 64, size=3)
ORIGIN = Origin(
    project=OTHER,
    file=".gitlab-ci.yml",
    predefined=variables(CI_COMMIT_REF_NAME="main", GITLAB_USER_LOGIN="their user"),
    project_variables=variables(THEIRS="1"),
    source=Source(ref="main", sha="5ha"),
    workspace=TarWorkspace(digest="b" * 64, size=2),
)


def starts_other(strategy: str = "none") -> Plan:
    """A pipeline whose job starts one of another project."""
    down: dict[str, Any] = {
        "include": [],
        "project": OTHER,
        "yaml_variables": ["COLOR"],
        "variables": variables(COLOR="red"),
    }
    facts = variables(GITLAB_USER_LOGIN="me", CI_COMMIT_REF_NAME="topic")
    return plan(trigger("down", strategy=strategy, **down), predefined=facts)


def started(sim: Sim, strategy: str = "depend") -> tuple[RunState, RunState]:
    """A run, and that of another project that it has started."""
    run = sim.submit(starts_other(strategy), projects=[ORIGIN])
    return run, sim.compiled(run, "down", DOWNSTREAM)


def retry(sim: Sim, run: RunState, name: str | None = None) -> None:
    unfinished = sim.engine.unfinished()
    finished = {run.id: run for run in sim.runs.values() if run.id not in unfinished}
    sim.engine.retry(m.Retry(id=1, run=run.id, job=name), sim.now, finished=finished)
    sim.flush()


def cancel(sim: Sim, run: RunState, name: str | None = None) -> None:
    sim.engine.cancel(m.Cancel(id=1, run=run.id, job=name), sim.now)
    sim.flush()


def test_a_project_that_was_brought_along_is_compiled_from_its_own_files_facts_and_variables_for_our_user() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(starts_other(), projects=[ORIGIN])
    request = sim.wanted[sim.attempt_of(run, "down")]
    assert (request.workspace, request.file) == (ORIGIN.workspace, ".gitlab-ci.yml")
    facts = {each.key: each.value for each in request.predefined}
    assert facts == {"CI_COMMIT_REF_NAME": "main", "GITLAB_USER_LOGIN": "me"}
    assert request.project_variables == ORIGIN.project_variables
    assert {each.key: each.value for each in request.variables} == {"COLOR": "red"}
    assert sim.job(run, "down").pending_reason == f"the pipeline of {OTHER} is being compiled"


def test_a_project_that_was_not_brought_along_is_to_be_looked_for() -> None:
    sim = Sim(SimWorker("w"))
    sim.submit(starts_other())
    (asked,) = sim.turns[-1].children
    assert (asked.origin, asked.request.trigger.project, asked.request.workspace) == (None, OTHER, None)


def test_a_run_of_another_project_is_no_child() -> None:
    sim = Sim(SimWorker("w"))
    run, other = started(sim)
    assert other.parent == ParentJob(run=run.id, job="down", level=0, project=PROJECT, root=run.id)
    assert (other.source, other.workspace, other.projects) == (ORIGIN.source, ORIGIN.workspace, [])
    assert job_view(sim.job(run, "down")).downstream_project == OTHER
    sim.finish(other)
    assert sim.statuses(run) == {"down": "success"}


def test_only_runs_that_start_others_keep_what_was_brought_along() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("child")), projects=[ORIGIN])
    child = sim.compiled(run, "child", starts_other())
    assert child.projects == [ORIGIN]
    assert sim.turns[-1].children[0].origin == ORIGIN


def test_children_of_a_run_of_another_project_have_two_levels_of_their_own() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("child")), projects=[ORIGIN])
    child = sim.compiled(run, "child", starts_other())
    other = sim.compiled(child, "down", plan(trigger("its"), project=OTHER))
    below = sim.compiled(other, "its", plan(trigger("next"), project=OTHER))
    last = sim.compiled(below, "next", plan(trigger("more"), project=OTHER))
    parents = [each.parent for each in (child, other, below, last) if each.parent is not None]
    assert [each.level for each in parents] == [1, 0, 1, 2]
    assert {each.root for each in parents} == {run.id}
    assert sim.job(last, "more").failure_reason is FailureReason.REACHED_MAX_DESCENDANT_PIPELINES_DEPTH


def test_a_job_can_t_start_a_pipeline_of_its_own_project_by_name() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("down", include=[], project=PROJECT)))
    assert sim.job(run, "down").failure_reason is FailureReason.INVALID_BRIDGE_TRIGGER
    assert "start a child pipeline of it with `trigger:include`" in (sim.job(run, "down").message or "")


def test_a_run_of_another_project_goes_on_when_the_one_that_started_it_is_canceled() -> None:
    sim = Sim(SimWorker("w"))
    run, other = started(sim)
    cancel(sim, run)
    assert (run.status, other.status) == (S.CANCELED, S.PENDING)
    sim.finish(other)
    assert (run.status, other.status) == (S.CANCELED, S.SUCCESS)


def test_its_retry_makes_the_job_that_waited_for_it_wait_again() -> None:
    sim = Sim(SimWorker("w"))
    run, other = started(sim)
    sim.finish(other, lambda _: S.FAILED)
    assert (run.status, sim.job(run, "down").message) == (S.FAILED, f"run {other.id} of {OTHER} failed")
    retry(sim, other)
    assert sim.statuses(run) == {"down": "running"}
    sim.finish(sim.runs[other.id])
    assert run.status is S.SUCCESS


def test_its_newer_commit_makes_older_runs_of_its_branch_redundant() -> None:
    sim = Sim(SimWorker("w"))
    older = sim.submit(plan(job("work", interruptible=True), project=OTHER), source=Source(ref="main", sha="old"))
    _, other = started(sim)
    assert (older.canceling, other.canceling) == (True, False)


# artifacts of other pipelines

NEED = ExternalNeed(job="make", project=OTHER, ref="main")
FOUND = Dependency(
    job=f"{OTHER}:make@main", status=S.SUCCESS, satisfied=True, artifacts=[ARCHIVE], variables={"V": "1"}
)


def test_a_job_gets_the_artifacts_that_were_found_when_it_was_queued() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("use", needs=[], external_needs=[NEED])))
    use = sim.job(run, "use")
    assert sim.looked_for[use.id] == LookUp(use.id, run.id, PROJECT, [NEED], "")
    assert (use.attempt, use.pending_reason) == (None, "what it needs of other pipelines is being looked for")
    sim.engine.upstream_found(use.id, [FOUND], sim.now)
    sim.flush()
    (assigned,) = sim.workers["w"].has.values()
    assert assigned.dependencies == [FOUND]


def test_they_stay_the_same_until_the_job_is_retried() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("use", external_needs=[NEED])))
    use = sim.job(run, "use")
    sim.engine.upstream_found(use.id, [FOUND], sim.now)
    sim.flush()
    sim.restart()
    run, use = sim.runs[run.id], sim.job(sim.runs[run.id], "use")
    sim.hello("w")
    assert (use.external and use.external.sources, use.status) == ([FOUND], S.PENDING)
    sim.finish(run, lambda _: S.FAILED)
    sim.looked_for.clear()
    retry(sim, run)
    assert (use.external, [*sim.looked_for]) == (None, [use.id])


def test_a_restarted_coordinator_looks_again() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("use", external_needs=[NEED])))
    sim.looked_for.clear()
    sim.restart()
    assert [*sim.looked_for] == [sim.job(run, "use").id]


def test_missing_artifacts_fail_the_job_that_needs_them() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("use", external_needs=[NEED])))
    sim.engine.upstream_missing(sim.job(run, "use").id, ["there is no such job"], sim.now)
    sim.flush()
    use = sim.job(run, "use")
    assert (use.failure_reason, use.message) == (FailureReason.MISSING_DEPENDENCY_FAILURE, "there is no such job")
    assert run.status is S.FAILED


def test_an_answer_for_a_canceled_job_is_dropped() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("use", external_needs=[NEED])))
    cancel(sim, run)
    sim.engine.upstream_found(sim.job(run, "use").id, [FOUND], sim.now)
    sim.flush()
    assert sim.statuses(run) == {"use": "canceled"}
    assert not sim.workers["w"].has


def test_a_job_that_needs_other_pipelines_is_not_held_ready() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("first"), job("use", needs=["first"], external_needs=[NEED])))
    sim.start(run, "first")
    assert sim.job(run, "use").attempt is None


# the status of another pipeline


def mirror(sim: Sim) -> RunState:
    return sim.submit(plan(job("same", script=(), mirrors=OTHER)))


def latest(sim: Sim, run: RunState, found: LatestRun | None) -> None:
    sim.engine.mirrored(sim.job(run, "same").id, found, sim.now)
    sim.flush()


@pytest.mark.parametrize("status", [S.SUCCESS, S.FAILED, S.CANCELED, S.SKIPPED])
def test_a_job_takes_the_status_of_a_run_that_has_ended(status: S) -> None:
    sim = Sim(SimWorker("w"))
    run = mirror(sim)
    assert sim.looked_for[sim.job(run, "same").id].mirrors == OTHER
    latest(sim, run, LatestRun(77, OTHER, status))
    assert sim.statuses(run) == {"same": status.value}
    assert job_view(sim.job(run, "same")).mirrors == 77
    assert not sim.workers["w"].has


def test_it_waits_for_a_run_that_has_not_ended_also_across_a_restart() -> None:
    sim = Sim(SimWorker("w"))
    other = sim.submit(DOWNSTREAM)
    run = mirror(sim)
    latest(sim, run, LatestRun(other.id, OTHER, other.status))
    assert sim.statuses(run) == {"same": "running"}
    sim.restart()
    sim.hello("w")
    sim.finish(sim.runs[other.id], lambda _: S.FAILED)
    run = sim.runs[run.id]
    assert (run.status, sim.job(run, "same").message) == (S.FAILED, f"run {other.id} of {OTHER} failed")


def test_a_job_that_mirrors_a_run_can_be_canceled_alone() -> None:
    sim = Sim(SimWorker("w"))
    other = sim.submit(DOWNSTREAM)
    run = mirror(sim)
    latest(sim, run, LatestRun(other.id, OTHER, other.status))
    cancel(sim, run)
    assert (run.status, other.status) == (S.CANCELED, S.PENDING)
    sim.finish(other)
    assert run.status is S.CANCELED


def test_a_project_without_runs_fails_the_job() -> None:
    sim = Sim(SimWorker("w"))
    run = mirror(sim)
    latest(sim, run, None)
    same = sim.job(run, "same")
    assert same.failure_reason is FailureReason.UPSTREAM_BRIDGE_PROJECT_NOT_FOUND
    assert "run that project here first" in (same.message or "")


def test_runs_that_would_wait_for_each_other_for_ever_do_not() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(starts_other("depend"), projects=[ORIGIN])
    other = sim.compiled(run, "down", plan(job("same", script=(), mirrors=PROJECT), project=OTHER))
    latest(sim, other, LatestRun(run.id, PROJECT, run.status))
    assert sim.job(other, "same").failure_reason is FailureReason.PIPELINE_LOOP_DETECTED
    assert (run.status, other.status) == (S.FAILED, S.FAILED)
