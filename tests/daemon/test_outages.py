"""Coordinators that die, go silent or forget, and daemons that are stopped, killed and started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.attempts.result import Result
from daemon.logs.masking import Masker
from daemon.runtime.thread_pool import THREADS, Task
from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from tests.support.eventually import DEADLINE
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker, start_worker
from tests.support.fake_executor import Box, FakeEngine, until
from tests.support.plans import assignment, unsatisfied

Start = Callable[..., RunningWorker]


# the coordinator


def test_a_job_that_ends_while_the_coordinator_is_away_is_reported_when_it_is_back(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(f"echo one; {until(go)}; echo two", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"one\n", "the first line")
    coordinator.down()
    go.touch()
    assert engine.boxes["1.1"].await_state("exited")
    coordinator.up()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"one\ntwo\n"
    hello = coordinator.expect(m.Hello, lambda hello: bool(hello.attempts))
    assert [held.attempt for held in hello.attempts] == ["1.1"]


def test_what_was_not_acknowledged_is_sent_again_once_and_in_order(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.acknowledging = False
    coordinator.assign(assignment("echo one; echo two", attempt="1.1"))
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    coordinator.down()
    coordinator.acknowledging = True
    coordinator.up()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.statuses["1.1"] == [S.PREPARING, S.RUNNING, S.SUCCESS]
    assert coordinator.log("1.1") == b"one\ntwo\n"


def test_a_lost_acknowledgement_is_made_up_for_without_a_reconnect(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker(ack_timeout=0.2)
    coordinator.acknowledging = False
    coordinator.assign(assignment("echo one", attempt="1.1"))
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    coordinator.acknowledging = True
    assert coordinator.final("1.1").log_length == 4
    assert coordinator.count(m.Hello) == 1


def test_how_long_ago_a_status_happened_is_told_when_it_comes_late(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker(ack_timeout=0.5)
    coordinator.acknowledging = False
    coordinator.assign(assignment("true", attempt="1.1"))
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    coordinator.acknowledging = True
    assert 0.4 < coordinator.final("1.1").ago < DEADLINE


def test_log_bytes_that_the_coordinator_had_acknowledged_and_lost_are_read_again(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(f"echo one; sleep 0.1; echo two; {until(go)}; echo three", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"one\ntwo\n", "two lines")
    coordinator.down()
    coordinator.logs["1.1", "job"] = bytearray(b"one\n")
    coordinator.up()
    go.touch()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"one\ntwo\nthree\n"


def test_a_log_that_was_lost_after_the_job_had_ended_is_read_again(
    coordinator: FakeCoordinator, run_worker: Start, tmp_path: Path
) -> None:
    run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(f"echo one; echo two; {until(go)}", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"one\ntwo\n", "the log")
    coordinator.acknowledging = False
    go.touch()
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    coordinator.down()
    coordinator.logs["1.1", "job"] = bytearray()
    coordinator.acknowledging = True
    coordinator.up()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"one\ntwo\n"


def test_log_bytes_that_the_coordinator_turns_out_to_lack_are_read_again_though_no_connection_was_lost(
    coordinator: FakeCoordinator, run_worker: Start, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    run_worker()
    coordinator.assign(assignment(f"echo one; {until(go)}; echo two", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"one\n", "the first line")
    coordinator.logs["1.1", "job"] = bytearray()
    go.touch()
    assert coordinator.final("1.1").log_length == 8
    assert coordinator.log("1.1") == b"one\ntwo\n"
    assert coordinator.count(m.Hello) == 1


@pytest.mark.parametrize("question", [m.GetJobStatus, m.GetJobDependencies])
def test_a_question_that_is_refused_is_asked_again_for_an_attempt_can_t_go_on_without_its_answer(
    coordinator: FakeCoordinator, run_worker: Start, monkeypatch: pytest.MonkeyPatch, question: type[m.Message]
) -> None:
    monkeypatch.setattr("daemon.attempts.table.ASK_AGAIN", 0.1)
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=unsatisfied("a")))
    coordinator.status("1.1", S.WAITING)
    coordinator.down()
    satisfied = m.Dependency(job="a", status=S.SUCCESS, satisfied=True)
    coordinator.dependencies["1.1"] = [satisfied]  # and the push got lost
    coordinator.refuse = {question}
    coordinator.up()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.refuse == set()


def test_a_heartbeat_says_what_the_worker_has(coordinator: FakeCoordinator, run_worker: Start) -> None:
    coordinator.heartbeat = 0.1
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    held = m.HeldAttempt(attempt="1.1", status=S.RUNNING)
    coordinator.expect(m.Heartbeat, lambda beat: beat.attempts == [held])
    coordinator.send(m.DiscardAttempt(attempt="1.1"))
    coordinator.expect(m.Heartbeat, lambda beat: beat.attempts == [])


def test_a_coordinator_that_forgot_the_connection_is_greeted_again(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker()
    coordinator.expect(m.Hello)
    coordinator.send(m.Error(code="not_introduced", message="say hello first"))
    coordinator.expect(m.Hello)
    coordinator.assign(assignment("true", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS


def test_a_coordinator_that_goes_silent_gets_a_fresh_connection(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    coordinator.heartbeat = 0.2
    run_worker()
    first = coordinator.expect(m.Hello)
    coordinator.expect(m.Heartbeat)
    coordinator.answering = False
    second = coordinator.expect(m.Hello)
    assert second.session != first.session
    coordinator.answering = True
    coordinator.expect(m.Heartbeat)  # it is welcome again
    coordinator.assign(assignment("true", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS


def test_a_welcome_that_answers_an_older_hello_takes_nothing_away_that_only_the_newer_one_lists(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    first = coordinator.expect(m.Hello)
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.answering = False
    coordinator.send(m.Error(code="not_introduced", message="say hello first"))
    second = coordinator.expect(m.Hello)
    assert [held.attempt for held in second.attempts] == ["1.1"]
    for hello, keep in ((first, []), (second, ["1.1"])):
        welcome = m.Welcome(protocol=1, coordinator="c" * 32, epoch="1", feed="", session=hello.session, keep=keep)
        coordinator.send(welcome)
    coordinator.answering = True
    coordinator.expect(m.GetJobStatus, lambda question: question.attempt == "1.1")
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED


def test_an_attempt_that_the_welcome_does_not_keep_is_discarded(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.down()
    coordinator.keep = lambda hello: []
    coordinator.up()
    engine.await_step("remove", "1.1")
    assert "1.1" not in coordinator.finals


def test_an_attempt_that_is_not_wanted_any_more_is_discarded(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.down()
    coordinator.unwanted = {"1.1"}
    coordinator.up()
    engine.await_step("remove", "1.1")


def test_a_job_whose_log_waits_for_a_dead_coordinator_frees_its_slot_and_keeps_memory_bounded(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    run_worker(slots=1, ack_timeout=0.3)
    go = tmp_path / "go"
    coordinator.assign(assignment(f"printf x; {until(go)}; head -c 4999999 /dev/zero | tr '\\0' x", attempt="1.1"))
    coordinator.assign(assignment("echo second", attempt="2.1"))
    coordinator.wait_for(lambda: len(coordinator.log("1.1")) > 0, "the first byte")
    coordinator.acknowledging = False
    go.touch()
    engine.await_step("release", "2.1")
    in_flight = 5_000_000 - len(coordinator.log("1.1"))
    assert in_flight > 1 << 20  # so much is neither stored nor on its way
    coordinator.acknowledging = True
    assert coordinator.final("1.1").log_length == 5_000_000
    assert coordinator.log("1.1") == b"x" * 5_000_000
    assert coordinator.final("2.1").status is S.SUCCESS


# the daemon


def test_a_restarted_daemon_goes_on_with_a_running_job_at_the_acknowledged_byte(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    first = run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(f"echo one; {until(go)}; echo two", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1").startswith(b"one\n"), "the first line")
    first.leave()
    assert engine.boxes["1.1"].state == "running"
    run_worker()
    go.touch()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1").endswith(b"two\n")
    assert coordinator.log("1.1").count(b"one\n") == 1
    chunks = [message for message in coordinator.heard if isinstance(message, m.LogChunk)]
    assert len({chunk.offset for chunk in chunks}) == len(chunks), "no byte was sent twice"
    assert engine.steps("1.1").count("release") == 1
    assert coordinator.seqs["1.1"] > 0


def test_a_job_that_ended_while_no_daemon_ran_is_reported_by_the_next_one(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    first = run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(f"echo begun; {until(go)}; exit 3", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"begun\n", "the first line")
    first.leave()
    go.touch()
    assert engine.boxes["1.1"].await_state("exited")
    run_worker()
    final = coordinator.final("1.1")
    assert (final.status, final.exit_code, final.log_length) == (S.FAILED, 3, 6)
    engine.await_step("remove", "1.1")


def test_a_held_job_of_a_crashed_daemon_is_released_by_the_next_one(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    waiting = assignment("echo free", attempt="1.1", waits_for=unsatisfied("a"))
    coordinator.assignments["1.1"] = waiting
    coordinator.dependencies["1.1"] = unsatisfied("a")
    engine.boxes["1.1"] = Box("1.1", "held")
    run_worker()
    coordinator.status("1.1", S.WAITING)
    coordinator.satisfy("1.1", "a")
    assert coordinator.final("1.1").status is S.SUCCESS
    assert engine.steps("1.1")[0] == "release"
    assert coordinator.log("1.1") == b"free\n"


def test_a_container_that_was_only_created_is_used_by_the_next_daemon(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    coordinator.assignments["1.1"] = assignment("echo ran", attempt="1.1")
    engine.boxes["1.1"] = Box("1.1")
    run_worker()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"ran\n"


def test_a_found_container_whose_attempt_is_over_is_removed(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.boxes["1.1"] = Box("1.1", "held")
    run_worker()  # the coordinator keeps it, and then has no assignment for it
    engine.await_step("discard", "1.1")
    assert engine.boxes == {}


def test_a_found_container_that_moves_is_removed_when_no_coordinator_is_heard_of_for_its_lease(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    coordinator.answering = False
    engine.boxes["1.1"] = Box("1.1", "running", lease=0.5)
    engine.boxes["2.1"] = Box("2.1", "running")
    run_worker()
    engine.await_step("discard", "1.1")
    assert engine.boxes.keys() == {"2.1"}


def test_a_found_container_whose_lease_ends_before_it_is_taken_up_is_given_back_when_nothing_of_it_is_left(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.boxes["1.1"] = Box("1.1", "running", lease=0.5)
    engine.removal_gate.clear()

    def keep(hello: m.Hello) -> list[str]:
        coordinator.answering = False  # from now on: it is kept, and then nothing more is heard
        return [held.attempt for held in hello.attempts]

    coordinator.keep = keep
    run_worker()
    engine.await_step("discarding", "1.1")
    assert not coordinator.count(m.JobReturned)
    engine.removal_gate.set()
    assert coordinator.expect(m.JobReturned).attempt == "1.1"
    assert engine.boxes == {}


def test_a_found_container_that_was_canceled_meanwhile_is_stopped_when_it_is_taken_up(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    first = run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    first.leave()
    coordinator.answering = False
    run_worker()
    coordinator.expect(m.Hello)
    coordinator.expect(m.Hello)
    coordinator.answering = True
    coordinator.expect(m.GetJobExecution)
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
    assert engine.steps("1.1").count("stop") == 1


def test_the_timeout_of_a_taken_up_job_counts_from_its_release(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    first = run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1", timeout=1.0))
    coordinator.status("1.1", S.RUNNING)
    first.leave()
    engine.boxes["1.1"].released_at -= 1.0
    run_worker()
    assert coordinator.final("1.1").failure_reason == "job_execution_timeout"
    assert "stop as failed" in engine.steps("1.1")


def test_statuses_of_a_restarted_daemon_count_on_even_if_the_clock_was_set_back(
    coordinator: FakeCoordinator, run_worker: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(until(go), attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    first.leave()
    go.touch()
    monkeypatch.setattr("daemon.attempts.manager.time.time", lambda: 1000.0)
    run_worker()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.statuses["1.1"][-1] is S.SUCCESS


def test_a_job_whose_log_can_t_be_read_for_want_of_a_thread_fails_and_does_not_run_for_ever(
    coordinator: FakeCoordinator, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = THREADS.start

    def refuse(task: Task) -> None:
        if task.name.startswith("log "):
            raise RuntimeError("can't start new thread")
        start(task)

    monkeypatch.setattr(THREADS, "start", refuse)
    run_worker()
    coordinator.assign(assignment("echo one", attempt="1.1"))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason) == (S.FAILED, "runner_system_failure")
    assert "can't start new thread" in (final.message or "")


def test_a_job_whose_result_can_t_be_told_fails_and_does_not_run_for_ever(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(result: Result, masker: Masker) -> Result:
        raise ValueError("a secret")

    monkeypatch.setattr("daemon.attempts.runner.without_secrets", mistake)
    run_worker()
    coordinator.assign(assignment("echo one", attempt="1.1"))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason, final.log_length) == (S.FAILED, "runner_system_failure", 4)
    assert "a secret" not in (final.message or "")
    engine.await_step("remove", "1.1")


# a graceful end


def test_a_graceful_stop_finishes_what_runs_and_hands_back_what_has_not_begun(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    running = run_worker(slots=1)
    go = tmp_path / "go"
    coordinator.assign(assignment(f"{until(go)}; echo finished", attempt="1.1"))
    coordinator.assign(assignment("noop", attempt="2.1", waits_for=unsatisfied("a")))
    coordinator.status("1.1", S.RUNNING)
    engine.await_step("hold", "2.1")
    running.worker.stop()
    hello = coordinator.expect(m.Hello, lambda hello: not hello.run_untagged)
    assert hello.labels == []
    coordinator.wait_for(
        lambda: any(isinstance(one, m.JobReturned) and one.attempt == "2.1" for one in coordinator.heard), "2.1 back"
    )
    coordinator.assign(assignment("true", attempt="3.1"))
    coordinator.wait_for(
        lambda: any(isinstance(one, m.JobReturned) and one.attempt == "3.1" for one in coordinator.heard), "3.1 back"
    )
    go.touch()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"finished\n"
    assert coordinator.expect(m.Goodbye).keeps == []
    running.join()
    assert running.error is None
    assert engine.boxes == {}


def test_a_second_stop_leaves_the_containers_running_and_says_which(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    running = run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.assign(assignment("noop", attempt="2.1", waits_for=unsatisfied("a")))
    coordinator.status("1.1", S.RUNNING)
    engine.await_step("hold", "2.1")
    running.worker.stop()
    running.worker.stop()
    assert coordinator.expect(m.Goodbye).keeps == ["1.1"]
    running.join()
    assert engine.boxes.keys() == {"1.1"}
    assert engine.boxes["1.1"].state == "running"


def test_a_graceful_stop_is_bounded(coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start) -> None:
    running = run_worker(stop_timeout=0.3)
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    running.worker.stop()
    assert coordinator.expect(m.Goodbye).keeps == ["1.1"]
    running.join()


def test_a_worker_stops_although_its_coordinator_is_away(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    running = run_worker(stop_timeout=0.3)
    coordinator.expect(m.Hello)
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.down()
    running.worker.stop()
    running.join()
    assert engine.boxes["1.1"].state == "running"
    assert engine.removed == []
    coordinator.up()
    run_worker()
    assert [held.attempt for held in coordinator.expect(m.Hello).attempts] == ["1.1"]


def test_a_worker_waits_for_a_coordinator_that_comes_later(tmp_path: Path) -> None:
    with FakeCoordinator() as before:
        address = before.address
    running = start_worker(address, tmp_path, FakeEngine())
    with FakeCoordinator(address) as coordinator:
        coordinator.assign(assignment("true", attempt="1.1"))
        assert coordinator.final("1.1").status is S.SUCCESS
        running.leave()
