"""Jobs that start child runs: what they ask for, what they wait for, and what goes down to the child and up from it."""

from __future__ import annotations

import pytest

from coordinator.engine.origins import origin_of
from coordinator.engine.state import RunState
from coordinator.engine.views import job_view, run_summary
from protocol import messages as m
from protocol.job_variables import of_job
from protocol.plan import TriggerInclude, Variable
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import ArtifactRef, ParentJob
from protocol.workspace import TarWorkspace
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan, trigger, variables

CHILD = plan(job("work"))
ARCHIVE = ArtifactRef(kind="archive", digest="d" * 64, size=3)


def cancel(sim: Sim, run: RunState, name: str | None = None) -> None:
    sim.engine.cancel(m.Cancel(id=1, run=run.id, job=name), sim.now)
    sim.flush()


def retry(sim: Sim, run: RunState, name: str | None = None) -> None:
    unfinished = sim.engine.unfinished()
    finished = {run.id: run for run in sim.runs.values() if run.id not in unfinished}
    sim.engine.retry(m.Retry(id=1, run=run.id, job=name), sim.now, finished=finished)
    sim.flush()


def finish(sim: Sim, run: RunState, status: S = S.SUCCESS) -> None:
    sim.finish(run, lambda _: status)


def test_a_job_without_a_strategy_succeeds_when_its_child_run_is_created() -> None:
    sim = Sim(SimWorker("w"))
    source, workspace = m.Source(ref="main", sha="abc"), TarWorkspace(digest="a" * 64, size=1)
    run = sim.submit(plan(trigger("start"), job("after", needs=["start"])), source=source, workspace=workspace)
    assert sim.job(run, "start").pending_reason == "its child pipeline is being compiled"
    child = sim.compiled(run, "start", CHILD)
    assert sim.statuses(run) == {"start": "success", "after": "pending"}
    assert (child.parent, child.source, child.workspace) == (
        ParentJob(run=run.id, job="start", level=1, root=run.id),
        source,
        workspace,
    )
    finish(sim, run)
    assert child.status is S.PENDING
    finish(sim, child)
    assert job_view(sim.job(run, "start")).child_runs == [child.id]
    assert run_summary(child).parent == ParentJob(run=run.id, job="start", root=run.id)


@pytest.mark.parametrize(
    ("strategy", "outcome", "expected"),
    [
        ("depend", S.SUCCESS, "success"),
        ("depend", S.FAILED, "failed"),
        ("depend", S.CANCELED, "failed"),
        ("depend", S.SKIPPED, "failed"),
        ("mirror", S.SUCCESS, "success"),
        ("mirror", S.FAILED, "failed"),
        ("mirror", S.CANCELED, "canceled"),
        ("mirror", S.SKIPPED, "skipped"),
    ],
)
def test_a_job_with_a_strategy_runs_until_its_child_ends_and_takes_its_outcome(
    strategy: str, outcome: S, expected: str
) -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start", "build", strategy=strategy), job("after")))
    work = job("work", when="on_failure" if outcome is S.SKIPPED else "on_success")
    child = sim.compiled(run, "start", plan(work))
    if outcome is S.CANCELED:
        assert sim.statuses(run)["start"] == "running"
        cancel(sim, child)
    if outcome is not S.SKIPPED:
        finish(sim, child, outcome)
    assert child.status is outcome
    start = sim.job(run, "start")
    assert start.status.value == expected
    if expected == "failed":
        assert start.message == f"run {child.id} " + {
            S.FAILED: "failed",
            S.CANCELED: "was canceled",
            S.SKIPPED: "was skipped",
        }.get(outcome, "")
    assert sim.statuses(run)["after"] == ("pending" if expected in ("success", "skipped") else "skipped")


def test_a_child_that_fails_is_forgiven_by_allow_failure() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start", "build", strategy="depend", allow_failure=True), job("after")))
    finish(sim, sim.compiled(run, "start", CHILD), S.FAILED)
    assert sim.statuses(run) == {"start": "failed", "after": "pending"}


def test_problems_of_the_child_s_file_are_the_job_s_failure() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start")))
    sim.refused(run, "start", "child.yml:3: job: has no script", "child.yml:4: stage: unknown")
    start = sim.job(run, "start")
    assert run.status is S.FAILED
    assert start.failure_reason is FailureReason.DOWNSTREAM_PIPELINE_CREATION_FAILED
    assert start.message == "child.yml:3: job: has no script\nchild.yml:4: stage: unknown"


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start")))
    assert sim.engine.child_compiled(sim.attempt_of(run, "start"), plan(), origin_of(run), sim.now) is None
    sim.flush()
    assert sim.job(run, "start").message == "the plan has no jobs"


def test_a_trigger_is_never_sent_to_a_worker_and_nothing_is_held_for_it() -> None:
    sim = Sim(SimWorker("w", slots=5))
    run = sim.submit(plan(trigger("start", strategy="depend"), job("after", needs=["start"])))
    child = sim.compiled(run, "start", CHILD)
    assert [a.job.name for a in sim.workers["w"].has.values()] == ["work"]
    finish(sim, child)
    finish(sim, run)


def test_there_are_two_levels_of_children_and_no_third() -> None:
    sim = Sim(SimWorker("w"))
    nested = plan(trigger("start", strategy="depend"))
    run = sim.submit(nested)
    child = sim.compiled(run, "start", nested)
    grandchild = sim.compiled(child, "start", nested)
    start = sim.job(grandchild, "start")
    assert start.failure_reason is FailureReason.REACHED_MAX_DESCENDANT_PIPELINES_DEPTH
    assert start.message == "child pipelines can be 2 levels deep; this run is at level 2"
    assert [each.status for each in (run, child, grandchild)] == [S.FAILED] * 3


def test_canceling_a_run_cancels_all_runs_below_it_and_its_jobs_end_after_theirs() -> None:
    sim = Sim(SimWorker("w", slots=4))
    run = sim.submit(plan(trigger("wait", strategy="depend"), trigger("go")))
    child, other = sim.compiled(run, "wait", plan(trigger("start", strategy="mirror"))), sim.compiled(run, "go", CHILD)
    grandchild = sim.compiled(child, "start", CHILD)
    sim.start(grandchild, "work")
    sim.start(other, "work")
    cancel(sim, run)
    assert (run.status, child.status, grandchild.status) == (S.RUNNING,) * 3
    assert sim.workers["w"].canceling == {sim.attempt_of(grandchild, "work"), sim.attempt_of(other, "work")}
    finish(sim, grandchild)
    assert [each.status for each in (run, child, grandchild)] == [S.CANCELED] * 3
    finish(sim, other)
    assert other.status is S.CANCELED


def test_canceling_a_job_cancels_the_child_that_it_waits_for() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start", strategy="depend"), job("other")))
    child = sim.compiled(run, "start", CHILD)
    cancel(sim, run, "start")
    assert sim.statuses(run)["start"] == "running"
    sim.report(sim.attempt_of(child, "work"), S.CANCELED)
    assert (child.status, sim.statuses(run)) == (S.CANCELED, {"start": "canceled", "other": "pending"})


def test_what_is_compiled_for_a_canceled_or_retried_job_is_too_late() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start")))
    first = sim.attempt_of(run, "start")
    cancel(sim, run, "start")
    retry(sim, run, "start")
    assert sim.engine.awaits_child(first) is None
    assert sim.engine.child_compiled(first, CHILD, origin_of(run), sim.now) is None
    sim.engine.child_refused(first, ["too late"], sim.now)
    sim.flush()
    assert sim.statuses(run) == {"start": "pending"}
    child = sim.compiled(run, "start", CHILD)
    assert sim.job(run, "start").child_runs == [child.id]


def test_a_retried_job_starts_a_new_child() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start", strategy="depend")))
    first = sim.compiled(run, "start", CHILD)
    finish(sim, first, S.FAILED)
    assert run.status is S.FAILED
    retry(sim, run)
    second = sim.compiled(run, "start", CHILD)
    finish(sim, second)
    assert run.status is S.SUCCESS
    assert sim.job(run, "start").child_runs == [first.id, second.id]


def test_retrying_a_child_makes_the_runs_above_wait_for_it_again() -> None:
    sim = Sim(SimWorker("w"))
    nested = plan(trigger("start", "build", strategy="depend"), job("after"))
    run = sim.submit(nested)
    child = sim.compiled(run, "start", nested)
    grandchild = sim.compiled(child, "start", CHILD)
    finish(sim, grandchild, S.FAILED)
    assert sim.statuses(run) == sim.statuses(child) == {"start": "failed", "after": "skipped"}
    retry(sim, grandchild)
    assert sim.statuses(run) == sim.statuses(child) == {"start": "running", "after": "created"}
    finish(sim, grandchild)
    finish(sim, child)
    finish(sim, run)
    assert run.status is S.SUCCESS
    assert sim.job(run, "start").child_runs == [child.id]


def test_a_killed_coordinator_asks_again_for_what_was_being_compiled() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start")))
    before = dict(sim.wanted)
    sim.restart()
    assert sim.wanted == before
    sim.compiled(sim.runs[run.id], "start", CHILD)
    sim.restart()
    assert not sim.wanted


def test_a_killed_coordinator_still_waits_for_the_child() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(
        plan(trigger("start", strategy="depend", resource_group="one"), trigger("next", resource_group="one"))
    )
    child = sim.compiled(run, "start", CHILD)
    sim.restart()
    sim.hello("w")
    run, child = sim.runs[run.id], sim.runs[child.id]
    assert sim.statuses(run) == {"start": "running", "next": "pending"}
    assert not sim.wanted
    finish(sim, child)
    assert sim.statuses(run) == {"start": "success", "next": "pending"}
    assert sim.wanted


def test_a_job_whose_child_can_t_be_read_after_a_restart_fails() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(trigger("start", strategy="depend")))
    child = sim.compiled(run, "start", CHILD)
    sim.engine._ledger.drop_run(child)
    sim.restart()
    assert sim.job(sim.runs[run.id], "start").message == "the run that it waits for is no longer there"
    assert sim.runs[run.id].status is S.FAILED


def test_a_child_gets_the_variables_of_its_job_expanded_and_those_of_the_run_if_forwarded() -> None:
    sim = Sim(SimWorker("w"))
    start = trigger(
        variables=variables(WHO="me", HELLO="hi $WHO of $CI_PIPELINE_ID, $SECRET", NOT="x"),
        yaml_variables=["WHO", "HELLO"],
        when="manual",
    )
    forwarding = trigger("all", yaml_variables=[], pipeline_variables=True)
    given = [Variable(key="OURS", value="project's"), Variable(key="TOKEN", value="t0p", masked=True)]
    run = sim.submit(plan(start, forwarding, run_variables=given, project_variables=1))
    sim.engine.play(m.Play(id=1, run=run.id, job="job", variables=variables(MORE="m")), sim.now)
    sim.flush()
    of = {request.job: request for request in sim.wanted.values()}
    number = next(each.value for each in of_job(run.id, 0.0, 1) if each.key == "CI_PIPELINE_ID")
    assert of["job"].variables == [
        Variable(key="WHO", value="me", raw=True),
        Variable(key="HELLO", value=f"hi me of {number}, $SECRET"),
        Variable(key="MORE", value="m", raw=True),
    ]
    assert of["all"].variables == [Variable(key="TOKEN", value="t0p", raw=True, masked=True)]
    assert of["all"].project_variables == given[:1]


def test_a_generated_file_comes_with_the_archives_of_its_job() -> None:
    sim = Sim(SimWorker("w"))
    generated = trigger("start", "deploy", include=[TriggerInclude(artifact="child.yml", job="gen")])
    run = sim.submit(plan(job("gen", "build"), generated))
    sim.start(run, "gen")
    sim.succeed(run, "gen", artifacts=[ARCHIVE, ArtifactRef(kind="junit", digest="e" * 64, size=1)], dotenv={"A": "b"})
    assert sim.wanted[sim.attempt_of(run, "start")].archives == {"gen": [ARCHIVE]}


def test_a_newer_commit_cancels_a_run_with_its_children_and_a_late_child_cancels_nothing() -> None:
    sim = Sim(SimWorker("w", slots=0))
    old = sim.submit(
        plan(trigger("start", interruptible=True), job("x", interruptible=True)), source=m.Source(ref="main", sha="1")
    )
    child = sim.compiled(old, "start", CHILD)
    new = sim.submit(plan(job("y", interruptible=True), trigger("late")), source=m.Source(ref="main", sha="2"))
    assert (old.status, child.status) == (S.CANCELED, S.CANCELED)
    sim.compiled(new, "late", CHILD)
    assert sim.statuses(new)["y"] == "pending"


def test_a_lock_is_lent_to_the_jobs_of_a_child_one_at_a_time_and_to_nobody_else() -> None:
    sim = Sim(SimWorker("w", slots=9))
    run = sim.submit(plan(trigger("start", strategy="depend", resource_group="one")))
    other = sim.submit(plan(job("other", resource_group="one")))
    child = sim.compiled(run, "start", plan(job("a", resource_group="one"), job("b", resource_group="one")))
    assert sim.job(other, "other").pending_reason == f"resource group 'one' is held by run {run.id} (start)"
    assert sim.job(child, "b").pending_reason == f"resource group 'one' is held by run {child.id} (a)"
    sim.start(child, "a")
    sim.restart()
    sim.hello("w")
    run, other, child = (sim.runs[each.id] for each in (run, other, child))
    assert [sim.job(child, name).attempt is not None for name in "ab"] == [True, False]
    sim.succeed(child, "a")
    assert sim.job(other, "other").attempt is None
    assert sim.job(child, "b").attempt is not None
    finish(sim, child)
    assert run.status is S.SUCCESS
    finish(sim, other)
