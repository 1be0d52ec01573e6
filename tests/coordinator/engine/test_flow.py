"""The flow of runs: stages, needs, when, allow_failure, retry, manual, delayed, locks, cancel."""

from __future__ import annotations

import msgspec
import pytest

from coordinator.engine.settings import Settings
from coordinator.engine.state import RunState
from coordinator.engine.views import job_view, run_view
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.events import WorkerChanged
from protocol.plan import EnvironmentSpec, Plan, RetrySpec, Variable
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan


def test_a_stage_begins_only_when_the_one_before_is_complete() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", "build"), job("b", "build"), job("c", "test")))
    assert sim.statuses(run) == {"a": "pending", "b": "pending", "c": "created"}
    assert sim.job(run, "c").pending_reason == "waiting for stage build"
    sim.start(run, "a")
    sim.succeed(run, "a")
    assert sim.job(run, "c").attempt is None
    sim.start(run, "b")
    sim.succeed(run, "b")
    assert [stage.status for stage in run.stages] == [S.SUCCESS, S.PENDING]
    sim.start(run, "c")
    sim.succeed(run, "c")
    assert run.status is S.SUCCESS
    assert sim.announced(run) == ["pending", "running", "success"]
    assert not sim.engine.unfinished()


def test_a_job_with_needs_starts_before_its_stage_and_without_the_other_jobs() -> None:
    sim = Sim(SimWorker("w", slots=3))
    run = sim.submit(plan(job("fast", "build"), job("slow", "build"), job("early", "test", needs=["fast"])))
    sim.start(run, "fast")
    sim.start(run, "slow")
    sim.succeed(run, "fast")
    sim.start(run, "early")
    assert sim.statuses(run)["slow"] == "running"
    sim.finish(run)


def test_what_was_odd_about_a_job_that_succeeded_is_told() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a"), job("b")))
    for name, message in (("a", "out: no matching files"), ("b", None)):
        sim.start(run, name)
        sim.succeed(run, name, message=message)
    assert [job_view(sim.job(run, name)).message for name in "ab"] == ["out: no matching files", None]


def test_what_a_worker_says_of_a_job_that_succeeded_is_shown_with_the_job_until_it_is_retried() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    sim.succeed(run, "a", message="dist/: no matching files")
    assert job_view(sim.job(run, "a")).message == "dist/: no matching files"
    sim.engine.retry(m.Retry(id=1, run=run.id, job="a"), sim.now, finished={run.id: run})
    sim.flush()
    assert job_view(sim.job(run, "a")).message is None


def test_a_job_whose_needs_run_is_held_at_the_worker_that_runs_them_and_told_by_push() -> None:
    sim = Sim(SimWorker("v", slots=1), SimWorker("w", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.report(sim.attempt_of(run, "a"), S.PREPARING)
    held = sim.attempt_of(run, "b")
    holder = sim.job(run, "b").attempt.worker
    assert holder == sim.job(run, "a").attempt.worker
    sim.report(held, S.WAITING)
    assert sim.job(run, "b").pending_reason == "waiting for a"
    sim.start(run, "a")
    assert not sim.workers[holder].may_start(held)
    sim.succeed(run, "a")
    assert sim.workers[holder].may_start(held)
    sim.finish(run)


def test_a_chain_is_held_ahead_as_far_as_there_is_room_and_what_comes_first_is_held_first() -> None:
    sim = Sim(SimWorker("w", slots=3))
    chain = [job(f"c{i}", needs=[f"c{i - 1}"] if i else []) for i in range(6)]
    run = sim.submit(plan(*chain, job("fan", needs=[]), job("late", needs=["fan"])))
    sim.start(run, "c0")
    sim.report(sim.attempt_of(run, "c1"), S.WAITING)
    sim.start(run, "fan")
    held = [name for name, status in sim.statuses(run).items() if sim.job(run, name).attempt and status != "running"]
    assert held == ["c1", "c2", "late"]  # c3 has no room, and would come after `late` if it had
    sim.report(sim.attempt_of(run, "c2"), S.WAITING)
    sim.succeed(run, "c0")
    assert sim.workers["w"].may_start(sim.attempt_of(run, "c1"))
    assert not sim.workers["w"].may_start(sim.attempt_of(run, "c2"))
    sim.start(run, "c1")
    sim.fail(run, "c1")
    assert sim.statuses(run)["c2"] == "skipped"
    assert sim.engine.workers()["w"].held == 1


def test_a_held_job_goes_to_an_idle_worker_when_its_own_has_no_slot() -> None:
    sim = Sim(SimWorker("v", slots=2))
    run = sim.submit(plan(job("a"), job("long"), job("b", needs=["a"])))
    for name in ("a", "long"):
        sim.start(run, name)
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    other = sim.submit(plan(job("x")))
    sim.workers["w"] = SimWorker("w", slots=2)
    sim.succeed(run, "a")  # x takes v's free slot in the same turn or b does: v is full either way
    sim.hello("w")
    sim.finish(run)
    sim.finish(other)
    assert len(sim.starts) == len(set(sim.starts)) == 4


def test_jobs_that_become_ready_at_once_wait_at_their_worker_and_are_not_shown_as_running() -> None:
    sim = Sim(SimWorker("w", slots=2))
    run = sim.submit(plan(job("a"), job("other"), job("b", needs=["a"]), job("c", needs=["a"])))
    for name in ("a", "other"):
        sim.start(run, name)
    sim.succeed(run, "a")
    (view,) = sim.engine.worker_views()
    assert (view.slots, view.running, view.waiting) == (2, 2, 1)
    assert sorted(view.jobs) == ["1/b", "1/c", "1/other"]
    shown = [e.worker for turn in sim.turns for e in turn.events if isinstance(e, WorkerChanged)]
    assert max(each.running for each in shown) == 2


def test_a_waiting_job_takes_no_slot() -> None:
    sim = Sim(SimWorker("w", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.start(run, "a")
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    view = sim.engine.worker_views()[0]
    assert (view.running, view.waiting) == (1, 1)
    sim.finish(run)
    assert sim.engine.workers()["w"].active == sim.engine.workers()["w"].held == 0


def test_a_failed_stage_skips_what_comes_later_but_on_failure_and_always_run() -> None:
    sim = Sim(SimWorker("w", slots=4))
    run = sim.submit(
        plan(
            job("bad", "build"),
            job("next", "test"),
            job("rescue", "test", when="on_failure"),
            job("report", "deploy", when="always"),
        )
    )
    sim.finish(run, lambda j: S.FAILED if j.plan.name == "bad" else S.SUCCESS)
    assert sim.statuses(run) == {"bad": "failed", "next": "skipped", "rescue": "success", "report": "success"}
    assert run.status is S.FAILED


def test_on_failure_jobs_are_skipped_when_all_went_well() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("good", "build"), job("rescue", "test", when="on_failure"), job("last", "deploy")))
    sim.finish(run)
    assert sim.statuses(run) == {"good": "success", "rescue": "skipped", "last": "success"}
    assert run.status is S.SUCCESS


def test_an_allowed_failure_is_a_warning_and_does_not_stop_the_run() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(
        plan(job("bad", "build", allow_failure=True), job("next", "test"), job("n", "test", needs=["bad"]))
    )
    sim.finish(run, lambda j: S.FAILED if j.plan.name == "bad" else S.SUCCESS)
    assert run.status is S.SUCCESS
    assert sim.statuses(run) == {"bad": "failed", "next": "success", "n": "success"}


@pytest.mark.parametrize(("code", "status"), [(42, S.SUCCESS), (1, S.FAILED)])
def test_allow_failure_may_be_for_some_exit_codes_only(code: int, status: S) -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("bad", allow_failure_exit_codes=[42])))
    sim.start(run, "bad")
    sim.fail(run, "bad", code)
    assert run.status is status


def test_a_failed_need_skips_its_dependents_at_once_and_discards_what_is_held() -> None:
    sim = Sim(SimWorker("w", slots=3))
    run = sim.submit(plan(job("a"), job("b"), job("c", needs=["a", "b"]), job("d", needs=["c"])))
    sim.start(run, "a")
    sim.start(run, "b")
    sim.report(sim.attempt_of(run, "c"), S.WAITING)
    sim.fail(run, "a")
    assert sim.statuses(run) == {"a": "failed", "b": "running", "c": "skipped", "d": "skipped"}
    assert list(sim.workers["w"].has) == [sim.attempt_of(run, "b")]


def test_needs_of_nothing_start_at_once_whatever_the_stage() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", "build"), job("b", "deploy", needs=[])))
    assert sim.statuses(run) == {"a": "pending", "b": "pending"}
    assert sim.job(run, "b").attempt is not None
    sim.finish(run)


def test_retry_is_by_reason_and_counts_attempts() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=2, when=["runner_system_failure"]))))
    sim.start(run, "a")
    sim.fail(run, "a", reason=FailureReason.RUNNER_SYSTEM_FAILURE)
    assert sim.statuses(run) == {"a": "pending"}
    assert sim.attempt_of(run, "a").endswith(".2")
    sim.start(run, "a")
    sim.fail(run, "a")
    assert run.status is S.FAILED
    assert [a.status for a in sim.job(run, "a").attempts] == [S.FAILED, S.FAILED]


@pytest.mark.parametrize("reason", [FailureReason.RUNNER_SYSTEM_FAILURE, FailureReason.SCRIPT_FAILURE])
def test_a_retry_prefers_a_worker_that_has_not_failed_the_job_by_itself(reason: FailureReason) -> None:
    sim = Sim(SimWorker("broken", slots=4), SimWorker("other", slots=1))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=2))))
    for _ in range(2):
        sim.start(run, "a")
        sim.fail(run, "a", reason=reason)
    by_itself = reason is FailureReason.RUNNER_SYSTEM_FAILURE
    workers = ["broken", "other", "broken"] if by_itself else ["broken"] * 3
    assert [attempt.worker for attempt in sim.job(run, "a").attempts] == workers


def test_a_retry_goes_to_the_worker_that_failed_if_no_other_is_free() -> None:
    sim = Sim(SimWorker("broken"), SimWorker("busy", slots=1, labels=("busy",)))
    sim.submit(plan(job("b", tags=["busy"])))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1))))
    sim.start(run, "a")
    sim.fail(run, "a", reason=FailureReason.RUNNER_SYSTEM_FAILURE)
    assert [attempt.worker for attempt in sim.job(run, "a").attempts] == ["broken", "broken"]


def test_a_result_of_an_older_attempt_is_refused_and_discarded() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1))))
    sim.start(run, "a")
    first = sim.attempt_of(run, "a")
    sim.fail(run, "a")
    sim.report(first, S.SUCCESS, worker="w", exit_code=0)
    assert sim.statuses(run) == {"a": "pending"}
    assert m.DiscardAttempt(attempt=first) in [send.message for send in sim.turns[-1].sends]


def test_a_blocking_manual_job_blocks_the_run_until_it_is_played() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", "build", when="manual"), job("b", "test")))
    assert (run.status, sim.statuses(run)) == (S.MANUAL, {"a": "manual", "b": "created"})
    sim.engine.play(m.Play(id=1, run=run.id, job="a"), sim.now)
    sim.flush()
    sim.finish(run)
    assert run.status is S.SUCCESS


def test_an_optional_manual_job_holds_nothing_up_and_can_be_played_after_the_end() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(
        plan(
            job("b", "build"),
            job("a", "build", when="manual", allow_failure=True),
            job("dependent", "test", needs=["a"]),
        )
    )
    sim.finish(run)
    assert sim.statuses(run) == {"b": "success", "a": "manual", "dependent": "skipped"}
    assert run.status is S.SUCCESS
    sim.engine.play(m.Play(id=1, run=run.id, job="a"), sim.now, finished={run.id: run})
    sim.flush()
    assert run.status is S.RUNNING
    sim.finish(run)
    assert sim.statuses(run) == {"b": "success", "a": "success", "dependent": "success"}


def test_a_delayed_job_starts_after_its_delay_by_the_monotonic_clock() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", when="delayed", start_in=60.0)))
    assert run.status is S.SCHEDULED
    sim.wall += 7200
    sim.pass_time(59)
    assert sim.statuses(run) == {"a": "scheduled"}
    sim.pass_time(2)
    assert sim.statuses(run) == {"a": "pending"}
    sim.finish(run)


def test_a_run_waits_for_somebody_only_when_no_delay_is_left() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", when="delayed", start_in=60.0), job("b", when="manual")))
    assert run.status is S.SCHEDULED
    sim.pass_time(61)
    sim.start(run, "a")
    sim.succeed(run, "a")
    assert run.status is S.MANUAL


def addresses(sim: Sim, run: RunState) -> dict[str, str | None]:
    """What readers see of each job's environment."""
    return {view.name: view.environment_url for stage in run_view(run).stages for view in stage.jobs}


def test_an_environments_address_takes_what_its_job_leaves_unless_that_is_absurd() -> None:
    sim = Sim(SimWorker("w"))
    environment = EnvironmentSpec(name="review", url="https://$WHERE.example.com/$OTHER")
    run = sim.submit(plan(job("a", environment=environment), job("b", environment=environment)))
    assert addresses(sim, run)["a"] == "https://$WHERE.example.com/$OTHER"
    sim.start(run, "a")
    sim.succeed(run, "a", dotenv={"WHERE": "here"})
    sim.start(run, "b")
    sim.succeed(run, "b", dotenv={"WHERE": "x" * (2 << 20)})
    assert addresses(sim, run) == {
        "a": "https://here.example.com/$OTHER",
        "b": "https://$WHERE.example.com/$OTHER",
    }


def test_an_environments_address_has_all_that_the_job_knows_but_what_nobody_may_see() -> None:
    sim = Sim(SimWorker("box"))
    variables = [
        Variable(key="CI_ENVIRONMENT_SLUG", value="review-1", raw=True),
        Variable(key="ADDRESS", value="https://$CI_ENVIRONMENT_SLUG.$DOMAIN/$CI_JOB_ID", raw=False),
        Variable(key="HIDDEN", value="secret", masked=True),
        Variable(key="KEY", value="content", file=True),
    ]
    url = "$ADDRESS/$CI_PIPELINE_ID/$CI_RUNNER_DESCRIPTION/$CI_JOB_IMAGE/$CI_PROJECT_PATH/$HIDDEN%KEY%$VAR"
    deploy = job("deploy", environment=EnvironmentSpec(name="review", url=url), variables=variables)
    made = plan(
        deploy,
        predefined=[Variable(key="CI_PROJECT_PATH", value="g/p", raw=True)],
        run_variables=[Variable(key="VAR", value="/of-the-run")],
    )
    run = sim.submit(made)
    sim.start(run, "deploy")
    assert addresses(sim, run)["deploy"] == (
        f"https://review-1.$DOMAIN/{sim.job(run, 'deploy').id}/{run.id}/box/{made.default_image or ''}/g/p/"
        f"$HIDDEN{made.project_dir}.tmp/KEY/of-the-run"
    )
    sim.succeed(run, "deploy", dotenv={"DOMAIN": "example.com"})
    assert "https://review-1.example.com/" in (addresses(sim, run)["deploy"] or "")


def test_an_environments_address_takes_what_the_jobs_before_it_leave_for_it() -> None:
    sim = Sim(SimWorker("w", slots=3))
    environment = EnvironmentSpec(name="review", url="https://$WHERE.example.com/$VERSION")
    deploy = job("deploy", "deploy", environment=environment)
    other = job("other", "deploy", needs=["build"], dependencies=[], environment=environment)
    run = sim.submit(plan(job("build", "build"), deploy, other))
    sim.start(run, "build")
    sim.succeed(run, "build", dotenv={"VERSION": "1", "WHERE": "there"})
    for name in ("deploy", "other"):
        sim.start(run, name)
        sim.succeed(run, name, dotenv={"WHERE": "here"})
    assert addresses(sim, run) == {
        "build": None,
        "deploy": "https://here.example.com/1",
        "other": "https://here.example.com/$VERSION",
    }


def test_a_resource_group_runs_one_job_at_a_time_across_runs_oldest_first() -> None:
    sim = Sim(SimWorker("w", slots=4))
    runs = [sim.submit(plan(job("deploy", resource_group="prod"))) for _ in range(3)]
    assert [sim.job(run, "deploy").attempt is not None for run in runs] == [True, False, False]
    assert sim.job(runs[1], "deploy").pending_reason == "resource group 'prod' is held by run 1 (deploy)"
    for i, run in enumerate(runs):
        sim.start(run, "deploy")
        if i < 2:
            assert sim.job(runs[i + 1], "deploy").attempt is None
        sim.succeed(run, "deploy")


def test_tags_choose_workers_and_a_job_that_fits_none_says_so() -> None:
    sim = Sim(SimWorker("plain"), SimWorker("big", labels=("gpu", "x86")))
    run = sim.submit(plan(job("a", tags=["gpu"]), job("b", tags=["gpu", "arm"])))
    assert sim.job(run, "a").attempt.worker == "big"
    assert sim.job(run, "b").pending_reason == "no worker has the tags arm, gpu"
    sim.workers["any"] = SimWorker("any", labels=("*",))
    sim.hello("any")
    assert sim.job(run, "b").attempt.worker == "any"


def test_every_job_that_does_not_run_says_why() -> None:
    sim = Sim()
    run = sim.submit(plan(job("a", "build"), job("b", "build", needs=["a"]), job("c", "test")))
    reasons = {j.plan.name: j.pending_reason for stage in run.stages for j in stage.jobs}
    assert reasons == {"a": "no worker is connected", "b": "waiting for a", "c": "waiting for stage build"}
    sim.workers["w"] = SimWorker("w", slots=1)
    sim.hello("w")
    other = sim.submit(plan(job("x")))
    assert sim.job(other, "x").pending_reason == "all slots busy (1 of 1 worker)"


def test_cancel_ends_what_has_not_begun_and_stops_what_runs() -> None:
    sim = Sim(SimWorker("w", slots=1))
    run = sim.submit(plan(job("a"), job("b"), job("c", "later", when="always")))
    sim.start(run, "a")
    done = sim.engine.cancel(m.Cancel(id=1, run=run.id), sim.now)
    sim.flush()
    assert done.count == 3
    assert sim.statuses(run) == {"a": "running", "b": "canceled", "c": "canceled"}
    assert sim.workers["w"].canceling == {sim.attempt_of(run, "a")}
    sim.report(sim.attempt_of(run, "a"), S.CANCELED)
    assert run.status is S.CANCELED


def test_cancel_ends_even_when_the_worker_never_answers_or_is_away() -> None:
    sim = Sim(SimWorker("w", slots=2), settings=Settings(cancel_bound=30, offline_after=20))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    sim.engine.cancel(m.Cancel(id=1, run=run.id), sim.now)
    sim.pass_time(31)
    assert run.status is S.CANCELED
    away = sim.submit(plan(job("a")))
    sim.start(away, "a")
    sim.workers["w"].connected = False
    sim.pass_time(25)
    sim.engine.cancel(m.Cancel(id=1, run=away.id), sim.now)
    sim.flush()
    assert away.status is S.CANCELED


def test_cancel_of_one_job_skips_its_dependents_only() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a"), job("b"), job("c", needs=["a"])))
    sim.engine.cancel(m.Cancel(id=1, run=run.id, job="a"), sim.now)
    sim.flush()
    sim.finish(run)
    assert sim.statuses(run) == {"a": "canceled", "b": "success", "c": "skipped"}
    assert run.status is S.CANCELED


def test_retry_keeps_what_succeeded_and_runs_the_rest_again() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("ok", "build"), job("bad", "build"), job("c", "test"), job("d", "test", needs=["bad"])))
    sim.finish(run, lambda j: S.FAILED if j.plan.name == "bad" else S.SUCCESS)
    assert run.status is S.FAILED
    done = sim.engine.retry(m.Retry(id=1, run=run.id), sim.now, finished={run.id: run})
    assert done.count == 3
    sim.flush()
    sim.finish(run)
    assert run.status is S.SUCCESS
    assert {name: sim.job(run, name).attempt.number for name in ("ok", "bad", "c")} == {"ok": 1, "bad": 2, "c": 1}
    assert [attempt.status for attempt in sim.job(run, "d").attempts] == [S.SKIPPED, S.SUCCESS]  # first one only held


def test_retry_of_one_job_runs_again_what_needs_it_even_if_that_succeeded() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", "build"), job("b", "test", needs=["a"]), job("c", "test")))
    sim.finish(run)
    sim.engine.retry(m.Retry(id=1, run=run.id, job="a"), sim.now, finished={run.id: run})
    sim.flush()
    sim.finish(run)
    assert {name: len(sim.job(run, name).attempts) for name in "abc"} == {"a": 2, "b": 2, "c": 1}


def test_a_newer_commit_cancels_interruptible_runs_of_the_same_branch() -> None:
    sim = Sim()
    old = sim.submit(plan(job("a", interruptible=True)), source=m.Source(ref="main", sha="1"))
    other = sim.submit(plan(job("a", interruptible=True)), source=m.Source(ref="feature", sha="1"))
    new = sim.submit(plan(job("a", interruptible=True)), source=m.Source(ref="main", sha="2"))
    assert (old.status, other.status, new.status) == (S.CANCELED, S.PENDING, S.PENDING)


def test_the_same_token_starts_one_run_only() -> None:
    sim = Sim()
    message = m.SubmitRun(id=1, token="t", plan=plan(job("a")))
    first = sim.engine.submit_run(message, sim.now)
    assert sim.engine.submit_run(message, sim.now).run == first.run
    assert sim.engine.submit_run(message, sim.now, known=7).run == 7


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (plan(), "no jobs"),
        (plan(job("a"), job("a")), "two jobs with the same name"),
        (plan(job("a"), stages=["other"]), "in stage 'test'"),
        (plan(job("a", needs=["b"])), "needs 'b'"),
        (plan(job("a", needs=["b"]), job("b", needs=["a"])), "in a cycle: a, b"),
        (plan(job("a", when="delayed", start_in=1e18)), "starts in 1e\\+18 s"),
        (plan(job("a", when="delayed", start_in=-1.0)), "starts in -1 s"),
        (plan(job("a", "x", needs=["b"]), job("b", "y")), "needs 'b', which is in a later stage"),
    ],
)
def test_a_plan_that_can_not_run_is_refused(bad: Plan, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        Sim().submit(bad)


def test_a_drained_worker_gets_no_new_job_and_gives_held_ones_back() -> None:
    sim = Sim(SimWorker("v", slots=1), SimWorker("w", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.start(run, "a")
    first = sim.job(run, "a").attempt.worker
    assert sim.job(run, "b").attempt.worker == first
    sim.engine.drain(m.DrainWorker(id=1, worker=first), sim.now)
    sim.flush()
    assert sim.job(run, "b").attempt.worker == ({"v", "w"} - {first}).pop()
    sim.finish(run)


def test_a_job_that_no_worker_takes_fails_after_the_pending_timeout() -> None:
    sim = Sim(settings=Settings(pending_timeout=100))
    run = sim.submit(plan(job("a", tags=["gpu"])))
    sim.pass_time(101)
    assert run.status is S.FAILED
    assert sim.job(run, "a").failure_reason is FailureReason.STUCK_OR_TIMEOUT_FAILURE
    assert "no worker is connected" in (sim.job(run, "a").message or "")


def test_a_pipelines_name_takes_what_only_its_run_knows_where_it_asks_for_that() -> None:
    sim = Sim(SimWorker("w"))
    asks = Variable(key="CI_PIPELINE_NAME", value="no. $CI_PIPELINE_IID of $X")
    asking = msgspec.structs.replace(plan(job("a"), predefined=[asks]), name=asks.value)
    titled = msgspec.structs.replace(plan(job("a")), name="Explain $CI_PIPELINE_IID")
    runs = [sim.submit(asking), sim.submit(titled)]
    assert [run_view(run).name for run in runs] == [f"no. {runs[0].id} of $X", "Explain $CI_PIPELINE_IID"]


def test_a_worker_that_takes_any_tag_stands_back_for_one_that_has_it_by_name() -> None:
    sim = Sim(SimWorker("any", labels=("*",)), SimWorker("big", slots=1, labels=("gpu",)))
    run = sim.submit(plan(job("a", tags=["gpu"]), job("b", tags=["gpu"]), job("c", tags=["arm"])))
    assert sim.job(run, "a").attempt.worker == "big"
    assert sim.job(run, "b").attempt is None
    assert sim.job(run, "b").pending_reason == "all slots busy (1 of 1 worker)"
    assert sim.job(run, "c").attempt.worker == "any"


def test_jobs_held_ahead_go_to_the_worker_that_has_their_tags_by_name() -> None:
    sim = Sim(SimWorker("any", labels=("*",)), SimWorker("big", labels=("gpu",)))
    run = sim.submit(plan(job("a", "build", tags=["arm"]), job("b", needs=["a"], tags=["gpu"])))
    sim.start(run, "a")
    assert (sim.job(run, "a").attempt.worker, sim.job(run, "b").attempt.worker) == ("any", "big")


def test_a_worker_of_any_tag_may_leave_jobs_without_tags_to_others() -> None:
    sim = Sim(SimWorker("any", labels=("*",), run_untagged=False))
    run = sim.submit(plan(job("a", tags=["gpu"]), job("b")))
    assert sim.job(run, "a").attempt.worker == "any"
    assert sim.job(run, "b").pending_reason == "no worker takes jobs without tags"
