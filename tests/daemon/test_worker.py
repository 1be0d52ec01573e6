"""What a worker does with assignments, as its coordinator and its engine see it."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.executors.base import JobFailed
from daemon.settings import WorkerSettings
from daemon.worker import REMOVE_BOUND, Worker
from protocol import messages as m
from protocol.errors import EngineUnavailable, LongshoreError, UsageError
from protocol.plan import Variable
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.workspace import TarWorkspace
from tests.support.eventually import eventually
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker
from tests.support.fake_executor import FakeEngine, FakeExecutor, FakeSandbox, until
from tests.support.plans import assignment, unsatisfied

Start = Callable[..., RunningWorker]


# the plain way


def test_a_job_runs_and_its_log_is_complete_before_its_final_status(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("echo hello; echo world", attempt="7.1"))
    final = coordinator.final("7.1")
    assert (final.status, final.exit_code, final.log_length) == (S.SUCCESS, 0, len(b"hello\nworld\n"))
    assert coordinator.log("7.1") == b"hello\nworld\n"
    assert coordinator.statuses["7.1"] == [S.PREPARING, S.RUNNING, S.SUCCESS]
    engine.await_step("remove", "7.1")


def test_the_container_stays_until_the_final_status_is_acknowledged(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    run_worker(ack_timeout=0.2)
    go = tmp_path / "go"
    coordinator.assign(assignment(f"{until(go)}; echo done", attempt="7.1"))
    coordinator.status("7.1", S.RUNNING)
    coordinator.acknowledging = False
    go.touch()
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    assert "7.1" in engine.boxes
    coordinator.acknowledging = True
    assert coordinator.final("7.1").status is S.SUCCESS
    engine.await_step("remove", "7.1")


def test_a_worker_that_leaves_removes_what_has_ended_as_soon_as_that_is_acknowledged(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    running = run_worker(ack_timeout=0.2)
    go = tmp_path / "go"
    coordinator.assign(assignment(f"{until(go)}; echo done", attempt="7.1"))
    coordinator.status("7.1", S.RUNNING)
    coordinator.acknowledging = False
    go.touch()
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    running.worker.stop()
    coordinator.expect(m.Hello, lambda hello: not hello.run_untagged)  # whose answer need not have come
    running.worker.stop()
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)  # again, for it has not left
    coordinator.acknowledging = True
    running.join()
    assert (engine.boxes, running.worker.removing) == ({}, False)


def test_a_worker_that_leaves_waits_for_no_coordinator_that_is_away(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    running = run_worker(ack_timeout=0.2)
    go = tmp_path / "go"
    coordinator.assign(assignment(f"{until(go)}; echo done", attempt="7.1"))
    coordinator.status("7.1", S.RUNNING)
    coordinator.acknowledging = False
    go.touch()
    coordinator.expect(m.JobStatus, lambda status: status.status is S.SUCCESS)
    coordinator.down()
    begun = time.monotonic()
    running.leave()
    assert time.monotonic() - begun < REMOVE_BOUND
    assert list(engine.boxes) == ["7.1"]


def test_a_script_that_fails_is_a_script_failure_with_its_exit_code(
    coordinator: FakeCoordinator, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("exit 7", attempt="1.1"))
    final = coordinator.final("1.1")
    assert (final.status, final.exit_code, final.failure_reason) == (S.FAILED, 7, FailureReason.SCRIPT_FAILURE)


def test_a_container_out_of_memory_fails_as_oom_killed(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    engine.boxes["1.1"].oom_killed = True
    process = engine.boxes["1.1"].process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    final = coordinator.final("1.1")
    assert (final.failure_reason, final.exit_code) == (FailureReason.OOM_KILLED, 137)


def test_a_container_that_was_ended_from_outside_is_a_failure_of_the_system(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    engine.boxes["1.1"].failure = "the container was ended from outside"
    engine.boxes["1.1"].end(137)
    final = coordinator.final("1.1")
    assert final.failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert final.message == "the container was ended from outside"


def test_what_the_engine_refuses_is_the_jobs_failure_with_its_reason_and_message(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.prepare_error = JobFailed(FailureReason.IMAGE_PULL_FAILURE, "no such image: nope:1")
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1"))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason, final.message, final.log_length) == (
        S.FAILED,
        FailureReason.IMAGE_PULL_FAILURE,
        "no such image: nope:1",
        0,
    )
    engine.await_step("remove", "1.1")


def test_a_project_directory_that_can_not_be_fails_the_job_before_it_is_prepared(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    elsewhere = [Variable(key="GIT_CLONE_PATH", value="/etc")]
    coordinator.assign(assignment("noop", attempt="1.1", run_variables=elsewhere))
    assert "GIT_CLONE_PATH '/etc' can't be used" in (coordinator.final("1.1").message or "")
    assert ("prepare", "1.1") not in engine.history


def test_services_logs_are_sent_as_streams_of_their_own(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.service_logs = {"db": b"ready\n"}
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1"))
    coordinator.final("1.1")
    assert coordinator.log("1.1", "service-db") == b"ready\n"
    assert b"ready" not in coordinator.log("1.1")


def test_services_logs_follow_the_jobs_own_if_it_wants_them_with_secrets_masked(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.service_logs = {"db": b"ready\npassword hunter22", "web": b"up\n"}
    engine.shows_services = True
    run_worker()
    secret = Variable(key="PASSWORD", value="hunter22", masked=True)
    coordinator.assign(assignment("echo script", attempt="1.1", secrets=[secret]))
    final = coordinator.final("1.1")
    log = coordinator.log("1.1")
    assert log.endswith(b"script\n[service:db] ready\n[service:db] password [MASKED]\n[service:web] up\n")
    assert final.log_length == len(log)


# slots and places


def test_no_more_jobs_run_than_there_are_slots_and_the_rest_follow_in_order(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, tmp_path: Path
) -> None:
    run_worker(slots=1, hold_limit=2)
    alone, go = tmp_path / "alone", tmp_path / "go"
    script = f"mkdir {alone}; while [ ! -e {go} ]; do sleep 0.02; done; rmdir {alone}"  # fails beside another one
    coordinator.assign(assignment(script, attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    for attempt in ("2.1", "3.1"):
        coordinator.assign(assignment(script, attempt=attempt))
        engine.await_step("hold", attempt)
    go.touch()
    assert [coordinator.final(attempt).status for attempt in ("1.1", "2.1", "3.1")] == [S.SUCCESS] * 3
    assert [attempt for step, attempt in engine.history if step == "release"] == ["1.1", "2.1", "3.1"]


def test_a_job_without_a_slot_is_prepared_and_held_meanwhile(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker(slots=1)
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.assign(assignment("true", attempt="2.1"))
    engine.await_step("hold", "2.1")
    coordinator.status("2.1", S.PREPARING)
    assert coordinator.statuses["2.1"] == [S.PREPARING]


def test_waiting_jobs_do_not_take_the_places_of_runnable_ones(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker(slots=1, hold_limit=1)
    for number in (1, 2, 3):
        coordinator.assign(assignment("noop", attempt=f"{number}.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.assign(assignment("echo through", attempt="4.1"))
    assert coordinator.final("4.1").status is S.SUCCESS
    assert engine.steps("2.1") == []


def test_an_attempt_that_is_assigned_twice_runs_once(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    job = assignment("echo once", attempt="1.1")
    for _ in range(3):
        coordinator.assign(job)
    coordinator.final("1.1")
    engine.await_step("remove", "1.1")
    coordinator.assign(job)
    coordinator.assign(assignment("true", attempt="2.1"))
    coordinator.final("2.1")
    assert engine.steps("1.1").count("release") == 1


# dependencies


def test_a_waiting_job_is_held_ready_and_runs_when_its_last_dependency_is_satisfied(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("echo $COLOR", attempt="1.1", waits_for=unsatisfied("a", "b")))
    engine.await_step("hold", "1.1")
    coordinator.satisfy("1.1", "a")
    coordinator.satisfy("1.1", "b", variables={"COLOR": "green"})
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"green\n"
    assert coordinator.statuses["1.1"] == [S.WAITING, S.RUNNING, S.SUCCESS]


def test_a_waiting_jobs_image_may_come_to_be_while_it_waits(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.prepare_error = JobFailed(FailureReason.IMAGE_PULL_FAILURE, "no such image: built-by-a:1")
    run_worker()
    coordinator.assign(assignment("echo built", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("prepare", "1.1")
    engine.prepare_error = None
    coordinator.satisfy("1.1", "a")
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.log("1.1") == b"built\n"


def test_a_waiting_job_fails_for_its_image_when_all_that_it_waits_for_has_ended(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.prepare_error = JobFailed(FailureReason.IMAGE_PULL_FAILURE, "no such image: nope:1")
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("prepare", "1.1")
    coordinator.status("1.1", S.WAITING)
    assert coordinator.statuses["1.1"] == [S.WAITING]
    coordinator.satisfy("1.1", "a")
    assert coordinator.final("1.1").failure_reason is FailureReason.IMAGE_PULL_FAILURE


def test_a_waiting_job_takes_no_slot(coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start) -> None:
    run_worker(slots=1)
    coordinator.assign(assignment("true", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.assign(assignment("true", attempt="2.1"))
    assert coordinator.final("2.1").status is S.SUCCESS


def test_a_dependency_that_was_missed_while_away_is_asked_for(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.down()
    done = m.Dependency(job="a", status=S.SUCCESS, satisfied=True)
    coordinator.dependencies["1.1"] = [done]
    coordinator.up()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.count(m.GetJobDependencies) >= 1


# stopping


def test_cancel_stops_the_script_and_reports_canceled(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("echo begun; sleep 60", attempt="1.1"))
    coordinator.wait_for(lambda: coordinator.log("1.1") == b"begun\n", "the first line")
    coordinator.send(m.CancelJob(attempt="1.1"))
    coordinator.send(m.CancelJob(attempt="1.1"))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason, final.log_length) == (S.CANCELED, None, 6)
    assert engine.steps("1.1").count("stop") == 1
    assert "collect" not in engine.steps("1.1")
    engine.await_step("remove", "1.1")


def test_a_script_that_does_not_obey_is_killed(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.attempts.stopper.KILL_SLACK", 0.1)
    engine.stubborn = True
    run_worker(grace=0.1)
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
    assert engine.steps("1.1").count("kill") == 1


def test_cancel_of_a_held_job_leaves_nothing(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
    assert engine.boxes == {}
    assert "release" not in engine.steps("1.1")


def test_cancel_of_a_queued_job_is_reported_at_once(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker(slots=1, hold_limit=1)
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.assign(assignment("noop", attempt="2.1", waits_for=unsatisfied("a")))
    coordinator.status("2.1", S.WAITING)
    coordinator.send(m.CancelJob(attempt="2.1"))
    assert coordinator.final("2.1").status is S.CANCELED


def test_cancel_is_reported_in_time_while_the_engine_still_pulls(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    engine.prepare_gate.clear()
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1"))
    engine.await_step("prepare", "1.1")
    coordinator.send(m.CancelJob(attempt="1.1"))
    assert coordinator.final("1.1").status is S.CANCELED
    engine.prepare_gate.set()
    engine.await_step("remove", "1.1")
    assert engine.boxes == {}


def test_a_job_that_takes_too_long_fails_with_the_reason(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("echo begun; sleep 60", attempt="1.1", timeout=2.0))
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason) == (S.FAILED, FailureReason.JOB_EXECUTION_TIMEOUT)
    assert final.exit_code is None
    assert coordinator.log("1.1") == b"begun\n"


def test_a_revoked_job_is_removed_and_given_back(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("noop", attempt="1.1", waits_for=unsatisfied("a")))
    engine.await_step("hold", "1.1")
    coordinator.send(m.RevokeJob(attempt="1.1"))
    coordinator.expect(m.JobReturned, lambda returned: returned.attempt == "1.1")
    assert engine.boxes == {}
    coordinator.assign(assignment("true", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS


def test_a_job_that_has_begun_is_not_given_back(
    coordinator: FakeCoordinator, run_worker: Start, tmp_path: Path
) -> None:
    run_worker()
    go = tmp_path / "go"
    coordinator.assign(assignment(until(go), attempt="1.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.send(m.RevokeJob(attempt="1.1"))
    coordinator.assign(assignment("true", attempt="2.1"))
    coordinator.final("2.1")  # what was sent before has been heard
    go.touch()
    assert coordinator.final("1.1").status is S.SUCCESS
    assert coordinator.count(m.JobReturned) == 0


@pytest.mark.parametrize("begun", [True, False])
def test_a_discarded_attempt_is_removed_and_nothing_is_reported(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, begun: bool
) -> None:
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1", waits_for=[] if begun else unsatisfied("a")))
    engine.await_step("release" if begun else "hold", "1.1")
    coordinator.send(m.DiscardAttempt(attempt="1.1"))
    engine.await_step("remove", "1.1")
    coordinator.assign(assignment("true", attempt="2.1"))
    coordinator.final("2.1")
    assert "1.1" not in coordinator.finals
    assert engine.boxes.keys() <= {"2.1"}


def test_an_unknown_attempt_that_is_discarded_is_removed_by_its_labels(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.send(m.DiscardAttempt(attempt="99.1"))
    engine.await_step("discard", "99.1")


def test_a_job_that_moves_is_stopped_when_the_coordinator_is_silent_for_its_lease(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    coordinator.heartbeat = 0.5
    run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1", lease=3.0))
    coordinator.assign(assignment("sleep 60", attempt="2.1"))
    coordinator.status("1.1", S.RUNNING)
    coordinator.status("2.1", S.RUNNING)
    beats = coordinator.count(m.Heartbeat) + 7
    coordinator.wait_for(lambda: coordinator.count(m.Heartbeat) >= beats, "heartbeats for longer than the lease")
    assert "kill" not in engine.steps("1.1")
    coordinator.answering = False
    engine.await_step("kill", "1.1")
    coordinator.answering = True
    final = coordinator.final("1.1")
    assert (final.status, final.failure_reason) == (S.FAILED, FailureReason.RUNNER_SYSTEM_FAILURE)
    assert engine.steps("2.1").count("kill") == 0


# bad input and bad starts


def test_bad_frames_are_dropped_and_work_goes_on(coordinator: FakeCoordinator, run_worker: Start) -> None:
    running = run_worker()
    coordinator.send_raw(b"\xff\xfe nonsense")
    coordinator.send_raw(b"\x81\xa4type\xa7unknown")
    coordinator.send_raw(b"a", b"b", b"c")
    coordinator.send(m.Ack(attempt="5.5", status_seq=1))
    coordinator.send(m.DependencyUpdate(attempt="5.5", dependency=unsatisfied("a")[0]))
    coordinator.assign(assignment("true", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS
    assert running.alive


def test_a_hello_says_what_is_known_of_the_engine_by_then(
    coordinator: FakeCoordinator, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_worker()
    assert coordinator.expect(m.Hello).executor.engine == "fake"
    monkeypatch.setattr(FakeExecutor, "facts", lambda _: "fake; project directories: copied")
    coordinator.send(m.Error(code="not_introduced", message="say hello first"))
    assert coordinator.expect(m.Hello).executor.engine == "fake; project directories: copied"


def test_a_second_worker_of_the_same_name_on_a_host_is_refused(
    coordinator: FakeCoordinator, run_worker: Start, tmp_path: Path
) -> None:
    run_worker()
    coordinator.expect(m.Hello)
    second = run_worker()
    second.join()
    assert isinstance(second.error, UsageError)
    assert "'w1'" in str(second.error)


def test_no_engine_is_one_clear_error(tmp_path: Path) -> None:
    class NoEngine(FakeExecutor):
        def facts(self) -> str:
            raise EngineUnavailable("no Docker engine answers at unix:///nowhere")

    with pytest.raises(EngineUnavailable, match="unix:///nowhere"):
        Worker(WorkerSettings(state_dir=tmp_path, name="w1"), NoEngine()).run()


def test_a_worker_whose_key_was_revoked_ends_its_jobs_before_it_ends(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    running = run_worker()
    coordinator.assign(assignment("sleep 60", attempt="1.1"))
    coordinator.assign(assignment("true", attempt="2.1", waits_for=unsatisfied("a")))
    coordinator.status("1.1", S.RUNNING)
    coordinator.status("2.1", S.WAITING)
    for _ in range(2):
        coordinator.send(m.Error(code="revoked", message="your key was revoked"))
    running.join()
    assert isinstance(running.error, LongshoreError)
    assert "your key was revoked" in str(running.error)
    assert "kill" in engine.steps("1.1")
    assert {"1.1", "2.1"} >= set(engine.removed) >= {"1.1"}
    assert "1.1" not in engine.boxes


@pytest.mark.parametrize("code", ["bad_version", "not_yours"])
def test_a_coordinator_that_can_not_take_the_worker_ends_it_with_what_it_says(
    coordinator: FakeCoordinator, run_worker: Start, code: str
) -> None:
    running = run_worker()
    coordinator.send(m.Error(code=code, message="install the same version on both sides"))  # type: ignore[arg-type]
    running.join()
    assert isinstance(running.error, LongshoreError)
    assert "install the same version" in str(running.error)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 64, "é", "a/b"])
def test_names_that_can_not_be_labels_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="bad worker name"):
        WorkerSettings(state_dir=tmp_path, name=name)


def test_a_full_disk_is_told_with_the_heartbeat(coordinator: FakeCoordinator, run_worker: Start) -> None:
    coordinator.heartbeat = 0.1
    run_worker(disk_floor=1 << 60)
    coordinator.expect(m.Heartbeat, lambda beat: beat.disk_low)


def test_a_full_disk_is_told_before_the_failure_of_a_job(
    coordinator: FakeCoordinator, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.heartbeat = 3600.0
    run_worker(disk_floor=1)
    coordinator.expect(m.Heartbeat, lambda beat: not beat.disk_low)
    full = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    coordinator.assign(assignment("noop", attempt="1.1", workspace=TarWorkspace(digest="0" * 64, size=1)))
    assert coordinator.final("1.1").failure_reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert [message.disk_low for message in coordinator.heard if isinstance(message, m.Heartbeat)] == [False, True]


def test_leftovers_of_nobody_are_swept_at_the_start(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start
) -> None:
    coordinator.keep = lambda hello: []
    FakeExecutor(engine).sandbox(assignment("noop", attempt="8.1")).prepare(None)
    run_worker()
    engine.await_step("discard", "8.1")
    assert engine.boxes == {}


def test_statuses_of_many_short_jobs_share_frames(coordinator: FakeCoordinator, run_worker: Start) -> None:
    run_worker(slots=20)
    for number in range(1, 21):
        coordinator.assign(assignment("true", attempt=f"{number}.1"))
    for number in range(1, 21):
        coordinator.final(f"{number}.1")
        assert coordinator.statuses[f"{number}.1"] == [S.PREPARING, S.RUNNING, S.SUCCESS]
    assert coordinator.status_frames < 60


def test_a_container_is_removed_when_it_had_time_to_end(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeSandbox, "lingers", 0.3)
    run_worker()
    coordinator.assign(assignment("true", attempt="1.1"))
    coordinator.final("1.1")
    engine.await_step("remove", "1.1")
    assert time.monotonic() - engine.made["1.1"].ended_at >= 0.3


def test_what_other_workers_have_left_is_cleared_when_the_coordinator_says_that_they_are_gone(
    coordinator: FakeCoordinator, engine: FakeEngine, run_worker: Callable[..., RunningWorker]
) -> None:
    engine.strangers = {"gone", "away"}
    coordinator.gone_workers = {"gone", "w1", "elsewhere"}
    run_worker(second_sweep=0.1, sweep_interval=0.1)
    engine.await_step("clear", "gone")
    coordinator.expect(m.GetGoneWorkers, lambda asked: asked.workers == ["away"])
    coordinator.gone_workers = {"away"}
    engine.await_step("clear", "away")
    assert [name for step, name in engine.history if step == "clear"] == ["gone", "away"]


def test_what_a_killed_predecessor_still_had_under_way_at_the_start_is_removed_soon(
    engine: FakeEngine, run_worker: Callable[..., RunningWorker]
) -> None:
    run_worker(second_sweep=0.1)
    eventually(lambda: engine.history.count(("sweep", "")), so=lambda sweeps: sweeps == 2)


def test_a_worker_whose_cache_is_removed_under_it_goes_on(
    coordinator: FakeCoordinator, run_worker: Callable[..., RunningWorker]
) -> None:
    running = run_worker()
    coordinator.heartbeat = 0.1
    coordinator.expect(m.Hello)
    shutil.rmtree(running.worker.settings.blobs)
    coordinator.assign(assignment("echo one", attempt="1.1"))
    assert coordinator.final("1.1").status is S.SUCCESS
    heard = len(coordinator.heard)
    coordinator.wait_for(lambda: any(isinstance(one, m.Heartbeat) for one in coordinator.heard[heard:]), "a heartbeat")
    assert running.alive


def test_an_executor_that_fails_at_the_end_does_not_fail_the_worker(
    coordinator: FakeCoordinator,
    engine: FakeEngine,
    run_worker: Callable[..., RunningWorker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_executor: object) -> None:
        raise RuntimeError("an odd object")

    monkeypatch.setattr("tests.support.fake_executor.FakeExecutor.close", fail, raising=False)
    running = run_worker()
    coordinator.expect(m.Hello)
    running.leave()
    assert running.error is None
