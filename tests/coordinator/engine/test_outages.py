"""What the engine does when workers go silent, come back, or the coordinator itself restarts."""

from __future__ import annotations

import pytest

from coordinator.engine.settings import Settings
from protocol import messages as m
from protocol.plan import RetrySpec
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan


def silent(sim: Sim, name: str, seconds: float) -> None:
    """The worker is cut off for a while; its containers go on."""
    sim.workers[name].connected = False
    sim.pass_time(seconds)


def test_by_default_a_job_survives_its_workers_outage_and_its_result_is_taken() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    silent(sim, "w", 1800)
    assert sim.statuses(run) == {"a": "running"}
    sim.hello("w")
    sim.succeed(run, "a")
    assert run.status is S.SUCCESS
    assert sim.starts == [("1.1", "w")]


def test_a_job_of_a_worker_that_is_away_too_long_fails_as_a_system_failure() -> None:
    sim = Sim(SimWorker("w"), settings=Settings(lost_after=3600, restart_grace=0))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    silent(sim, "w", 1800)
    sim.pass_time(1801)
    assert run.status is S.FAILED
    assert sim.job(run, "a").failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE


def test_a_job_that_moves_does_so_only_after_the_lease_and_its_margin() -> None:
    sim = Sim(SimWorker("v", slots=1), SimWorker("w", slots=1), settings=Settings(restart_grace=0))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1, when=["runner_system_failure"]))))
    first = sim.job(run, "a").attempt.worker
    assert sim.workers[first].has["1.1"].lease == 30.0
    sim.start(run, "a")
    silent(sim, first, 44)
    assert sim.job(run, "a").attempt.worker == first
    sim.pass_time(2)
    assert sim.job(run, "a").attempt.worker != first
    sim.start(run, "a")
    sim.hello(first)
    assert sim.workers[first].has == {}
    sim.succeed(run, "a")
    assert run.status is S.SUCCESS


def test_what_a_worker_had_whose_key_was_revoked_is_lost_at_once() -> None:
    sim = Sim(SimWorker("v", slots=2), settings=Settings(restart_grace=0))
    run = sim.submit(
        plan(job("begun"), job("again", retry=RetrySpec(max=1)), job("queued"), job("held", needs=["begun"]))
    )
    for name in ("begun", "again"):
        sim.start(run, name)
    sim.engine.worker_shut_out("v", sim.now)
    sim.flush()
    begun = sim.job(run, "begun")
    assert (begun.status, begun.failure_reason) == (S.FAILED, FailureReason.RUNNER_SYSTEM_FAILURE)
    assert begun.message == "the key of worker v was revoked"
    assert sim.statuses(run) == {"begun": "failed", "again": "pending", "queued": "pending", "held": "skipped"}
    assert not sim.engine.workers()["v"].attempts
    sim.workers["w"] = SimWorker("w", slots=4)
    sim.hello("w")
    assert {sim.job(run, name).attempt.worker for name in ("again", "queued")} == {"w"}


def test_a_job_that_moves_waits_for_its_lease_also_when_its_workers_key_was_revoked() -> None:
    sim = Sim(SimWorker("v", slots=1), settings=Settings(restart_grace=0))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1, when=["runner_system_failure"]))))
    sim.start(run, "a")
    sim.engine.worker_shut_out("v", sim.now)
    sim.workers["w"] = SimWorker("w", slots=1)
    sim.hello("w")
    silent(sim, "v", 44)
    assert sim.job(run, "a").attempt.worker == "v"
    sim.pass_time(2)
    assert sim.job(run, "a").attempt.worker == "w"


def test_a_revocation_of_the_past_fails_only_what_was_assigned_before_it() -> None:
    sim = Sim(SimWorker("v", slots=2), settings=Settings(restart_grace=0))
    run = sim.submit(plan(job("before")))
    sim.start(run, "before")
    revoked_at = sim.wall
    sim.pass_time(5)
    other = sim.submit(plan(job("after")))
    sim.start(other, "after")
    sim.restart()
    sim.engine.worker_shut_out("v", sim.now, revoked_at=revoked_at)
    sim.flush()
    assert sim.job(sim.runs[run.id], "before").status is S.FAILED
    assert sim.job(sim.runs[other.id], "after").status is S.RUNNING


def test_what_never_began_leaves_a_silent_worker_at_once() -> None:
    sim = Sim(SimWorker("v", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.start(run, "a")
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    sim.workers["w"] = SimWorker("w", slots=1)
    sim.hello("w")
    silent(sim, "v", 21)
    assert sim.job(run, "b").attempt.worker == "w"
    sim.hello("v")
    assert list(sim.workers["v"].has) == ["1.1"]
    sim.finish(run)


def test_what_a_silent_worker_held_is_another_attempt_elsewhere_for_its_container_may_be_there_still() -> None:
    sim = Sim(SimWorker("v", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.start(run, "a")
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    silent(sim, "v", 21)
    sim.workers["w"] = SimWorker("w", slots=1)
    sim.hello("w")
    assert list(sim.workers["w"].has) == ["2.2"]
    sim.restart()
    sim.hello("v")
    assert list(sim.workers["v"].has) == ["1.1"]
    sim.finish(sim.runs[run.id])
    assert sim.runs[run.id].status is S.SUCCESS


def test_an_assignment_that_got_lost_is_sent_again() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.workers["w"].forget("1.1")
    sim.pass_time(16)
    assert "1.1" in sim.workers["w"].has
    sim.workers["w"].forget("1.1")
    sim.hello("w")
    assert "1.1" in sim.workers["w"].has
    sim.finish(run)


def test_an_attempt_that_was_called_back_is_not_sent_again_while_the_answer_is_under_way() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    attempt = sim.job(run, "a").attempt
    assert attempt is not None
    attempt.revoking = True
    sim.workers["w"].forget("1.1")
    sim.pass_time(16)
    assert sim.workers["w"].has == {}
    sim.hello("w")
    assert "1.1" in sim.workers["w"].has
    sim.finish(run)
    assert run.status is S.SUCCESS


def test_a_running_job_whose_container_is_gone_fails_instead_of_running_for_ever() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    sim.workers["w"].forget("1.1")
    sim.hello("w")
    assert run.status is S.FAILED
    assert "gone" in (sim.job(run, "a").message or "")


def test_a_job_that_its_worker_has_no_more_does_not_run_for_ever_though_no_connection_was_lost() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1)), job("b", needs=["a"])))
    sim.start(run, "a")
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    sim.workers["w"].forget("1.1")
    sim.workers["w"].forget("2.1")
    sim.pass_time(1)
    assert sim.job(run, "a").attempts[0].failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert sorted(sim.workers["w"].has) == ["1.2", "2.1"]
    sim.finish(run)
    assert run.status is S.SUCCESS


def test_a_worker_that_begins_an_attempt_anew_is_heard_though_its_clock_has_gone_back() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.engine.job_status("w", m.JobStatus(attempt="1.1", seq=5000, status=S.PREPARING), 0, sim.now)
    sim.workers["w"].forget("1.1")  # killed before there was a container
    sim.hello("w")
    for seq, status in enumerate((S.PREPARING, S.RUNNING, S.SUCCESS), 1000):
        sim.engine.job_status("w", m.JobStatus(attempt="1.1", seq=seq, status=status), 0, sim.now)
        sim.flush()
    assert run.status is S.SUCCESS


def test_an_attempt_that_nobody_wants_any_more_is_taken_from_a_worker_that_still_says_it_has_it() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    assigned = sim.workers["w"].has["1.1"]
    sim.start(run, "a")
    sim.succeed(run, "a")
    sim.workers["w"].receive(m.AssignJob(assignment=assigned))
    sim.pass_time(1)
    assert sim.workers["w"].has == {}


def test_a_heartbeat_with_an_attempt_that_has_ended_changes_nothing_before_its_final_status() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    sim.workers["w"].status["1.1"] = S.SUCCESS
    sim.pass_time(1)
    assert sim.statuses(run) == {"a": "running"}
    sim.succeed(run, "a")
    assert run.status is S.SUCCESS


def test_a_job_that_comes_back_after_it_had_begun_fails_instead_of_running_for_ever() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", retry=RetrySpec(max=1, when=["runner_system_failure"]))))
    sim.start(run, "a")
    sim.workers["w"].forget("1.1")
    sim.engine.job_returned("w", m.JobReturned(attempt="1.1"), sim.now)
    sim.flush()
    assert list(sim.workers["w"].has) == ["1.2"]
    sim.finish(run)
    assert [attempt.status for attempt in sim.job(run, "a").attempts] == [S.FAILED, S.SUCCESS]


def test_a_final_status_waits_for_the_whole_log() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    final = m.JobStatus(attempt="1.1", seq=99, status=S.SUCCESS, exit_code=0, log_length=100)
    sim.engine.job_status("w", final, 60, sim.now)
    assert [send.message for send in sim.flush().sends] == [m.Ack(attempt="1.1", log_offset=60)]
    assert sim.statuses(run) == {"a": "running"}
    sim.engine.job_status("w", final, 100, sim.now)
    sim.flush()
    assert run.status is S.SUCCESS


def test_a_resent_final_status_is_acknowledged_again_and_applied_once() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a"), job("b", "later")))
    sim.start(run, "a")
    final = m.JobStatus(attempt="1.1", seq=99, status=S.SUCCESS, exit_code=0, log_length=0)
    for _ in range(2):
        sim.engine.job_status("w", final, 0, sim.now)
        assert m.Ack(attempt="1.1", status_seq=99) in [send.message for send in sim.engine.flush(sim.now).sends]
    assert [send.text for t in sim.turns for send in t.stories].count("succeeded on w") <= 1


def test_a_worker_is_refused_for_attempts_that_are_another_ones() -> None:
    sim = Sim(SimWorker("v", slots=1), SimWorker("w", slots=1))
    run = sim.submit(plan(job("a")))
    mine = sim.job(run, "a").attempt.worker
    other = ({"v", "w"} - {mine}).pop()
    sim.report("1.1", S.SUCCESS, worker=other, exit_code=0)
    assert sim.statuses(run) == {"a": "pending"}
    assert sim.engine.holds(other, "1.1") is None
    assert sim.engine.get_job_execution(other, m.GetJobExecution(id=1, attempt="1.1")).assignment is None


def test_a_restart_of_the_coordinator_interrupts_no_job() -> None:
    sim = Sim(SimWorker("w", slots=2))
    run = sim.submit(plan(job("a"), job("b", needs=["a"]), job("c"), job("d", "later")))
    sim.start(run, "a")
    sim.report(sim.attempt_of(run, "b"), S.WAITING)
    sim.restart()
    run = sim.runs[run.id]
    assert sim.statuses(run) == {"a": "running", "b": "waiting", "c": "pending", "d": "created"}
    sim.hello("w")
    sim.finish(run)
    assert sorted(sim.starts) == [("1.1", "w"), ("2.1", "w"), ("3.1", "w"), ("4.1", "w")]


def test_needs_that_ended_while_the_push_got_lost_are_learnt_by_asking() -> None:
    sim = Sim(SimWorker("w", slots=1))
    run = sim.submit(plan(job("a"), job("b", needs=["a"])))
    sim.start(run, "a")
    held = sim.attempt_of(run, "b")
    sim.report(held, S.WAITING)
    final = m.JobStatus(attempt="1.1", seq=99, status=S.SUCCESS, exit_code=0, log_length=0)
    sim.engine.job_status("w", final, 0, sim.now)
    sim.engine.flush(sim.now)  # committed, and killed before anything was sent
    sim.restart()
    run = sim.runs[run.id]
    sim.hello("w")
    assert sim.workers["w"].may_start(held)


def test_after_a_restart_nobody_is_lost_before_the_grace_time() -> None:
    sim = Sim(SimWorker("w"), settings=Settings(lost_after=10, restart_grace=60))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    sim.restart()
    sim.workers["w"].connected = False
    sim.pass_time(59)
    assert sim.statuses(sim.runs[run.id]) == {"a": "running"}
    sim.pass_time(2)
    assert sim.statuses(sim.runs[run.id]) == {"a": "failed"}


def test_wall_clock_jumps_change_no_lease_and_no_timeout() -> None:
    sim = Sim(SimWorker("w"), settings=Settings(restart_grace=0))
    run = sim.submit(plan(job("a")))
    sim.start(run, "a")
    for jump in (3600.0, -7200.0):
        sim.wall += jump
        sim.pass_time(1)
    assert sim.engine.workers()["w"].online
    assert sim.statuses(run) == {"a": "running"}


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_restart_across_a_jump_of_the_wall_clock_changes_no_delay(jump: float) -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", when="delayed", start_in=60.0)))
    sim.pass_time(30)
    sim.wall += jump
    sim.restart()
    sim.pass_time(29)
    assert sim.statuses(sim.runs[run.id]) == {"a": "scheduled"}
    sim.pass_time(2)
    assert sim.statuses(sim.runs[run.id]) == {"a": "pending"}


def test_after_a_new_boot_a_delay_goes_on_by_the_wall_clock() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("a", when="delayed", start_in=600.0)))
    sim.pass_time(30)
    sim.wall, sim.mono, sim.boot = sim.wall + 500, 5.0, "second boot"
    for _ in range(2):  # also after another restart in the same boot
        sim.restart()
        sim.pass_time(30)
        assert sim.statuses(sim.runs[run.id]) == {"a": "scheduled"}
    sim.pass_time(20)
    assert sim.statuses(sim.runs[run.id]) == {"a": "pending"}


def test_a_worker_is_gone_when_it_was_not_heard_of_for_long_and_nothing_of_it_is_waited_for() -> None:
    sim = Sim(SimWorker("w"), SimWorker("idle"), settings=Settings(lost_after=3600, restart_grace=0))
    run = sim.submit(plan(job("a")))
    name = sim.job(run, "a").attempt.worker
    sim.start(run, "a")
    other = next(worker for worker in ("w", "idle") if worker != name)
    asked = [name, other, "never seen"]
    assert sim.engine.gone_workers(asked) == ["never seen"]
    sim.workers[name].connected = sim.workers[other].connected = False
    sim.pass_time(3500)
    assert sim.engine.gone_workers(asked) == ["never seen"]
    sim.pass_time(200)
    assert set(sim.engine.gone_workers(asked)) == set(asked)
    sim.hello(other)
    assert set(sim.engine.gone_workers(asked)) == {name, "never seen"}
