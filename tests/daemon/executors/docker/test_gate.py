"""A started container waits at its gate, opens at once, and survives the daemon that started it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies, JobFailed, Slot
from daemon.executors.docker.executor import DockerExecutor
from protocol.messages import Assignment
from protocol.plan import ImageSpec
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER, container_name, run_job, tar_of, tar_workspace
from tests.support.eventually import DEADLINE, eventually
from tests.support.images import BUSYBOX
from tests.support.plans import assignment
from tests.support.system import UNTIL_TOLD


class Times:
    """When bytes came."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def note(self, _: bytes) -> None:
        """Some have come."""
        self.seen.append(time.perf_counter())


def another_daemon(tmp_path: Path) -> DockerExecutor:
    """What a daemon is after a restart: nothing but its name and its directory."""
    return DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")


def told(client: docker.DockerClient, job: Assignment) -> None:
    """Lets a job come to the end of UNTIL_TOLD."""
    assert client.containers.get(container_name(job)).exec_run(["touch", "/told"]).exit_code == 0


def test_a_held_container_runs_nothing_until_its_gate_opens(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("echo open")
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    assert [found.state for found in executor.find()] == ["created"]
    sandbox.hold()
    (found,) = executor.find()
    assert (found.attempt, found.state) == (job.attempt, "held")
    container = docker_client.containers.get(container_name(job))
    eventually(lambda: len(container.top()["Processes"]) == 1)
    assert b"open" not in container.logs()
    sandbox.release(Dependencies())
    assert sandbox.wait().exit_code == 0
    eventually(lambda: [found.state for found in executor.find()] == ["exited"])


def test_the_gate_opens_within_milliseconds(executor: DockerExecutor) -> None:
    took = []
    for _ in range(20):
        sandbox = executor.sandbox(assignment("true"))
        sandbox.prepare(None)
        sandbox.hold()
        started = time.perf_counter()
        sandbox.release(Dependencies())
        times = Times()
        sandbox.follow_log(0, times.note)
        took.append(times.seen[0] - started)
        sandbox.wait()
        sandbox.remove()
        if took[-1] < 0.05:
            return
    pytest.fail(f"the best of {took} s")  # whatever else the machine does at times


def test_another_daemon_opens_the_gate_and_sees_the_job_through(
    executor: DockerExecutor, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    job = assignment(UNTIL_TOLD, "sleep 0.4", "echo $X", "exit 4", variables=[])
    held = executor.sandbox(job)
    held.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"a": "a"})))
    held.hold()
    second = another_daemon(tmp_path)
    assert [found.state for found in second.find()] == ["held"]
    second.sandbox(job).release(Dependencies())
    third = another_daemon(tmp_path)
    eventually(lambda: [found.state for found in third.find()] == ["running"])
    sandbox = third.sandbox(job)
    told(docker_client, job)
    outcome = sandbox.wait()
    assert outcome.exit_code == 4
    assert 0.3 < outcome.ran_for < 2 * DEADLINE
    log = bytearray()
    sandbox.follow_log(len(f"$ {UNTIL_TOLD}\n"), log.extend)
    assert log.decode().splitlines() == ["$ sleep 0.4", "$ echo $X", "", "$ exit 4"]
    (found,) = third.find()
    assert found.state == "exited"
    assert time.monotonic() - found.released_mono > 0.3


class JumpedClock(datetime):
    """A wall clock that has jumped by an hour since."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> JumpedClock:
        return super().now(tz) + timedelta(hours=1)


def test_another_daemon_knows_how_long_and_in_which_slot_a_job_has_run_whatever_the_wall_clock_says(
    executor: DockerExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.monotonic()
    sandbox = executor.sandbox(assignment("sleep 100"))
    sandbox.prepare(None)
    sandbox.release(Dependencies(slot=Slot(2, 1)))
    after = time.monotonic()
    eventually(lambda: another_daemon(tmp_path).find()[0].state == "running")
    monkeypatch.setattr("daemon.executors.docker.executor.datetime", JumpedClock)
    (found,) = another_daemon(tmp_path).find()
    assert before < found.released_mono < after
    assert found.slot == Slot(2, 1)
    (note,) = (tmp_path / "cache" / "attempts").iterdir()
    note.write_text(f"another-boot {before}")
    (found,) = another_daemon(tmp_path).find()
    assert before - 3700 < found.released_mono < after - 3500
    assert found.slot is None
    sandbox.remove()
    assert list((tmp_path / "cache" / "attempts").iterdir()) == []


def test_a_gate_that_was_opened_twice_lets_the_script_run_once(
    executor: DockerExecutor, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    job = assignment("echo ran", UNTIL_TOLD)
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    another_daemon(tmp_path).sandbox(job).release(Dependencies())
    told(docker_client, job)
    assert sandbox.wait().exit_code == 0
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert log.decode().splitlines() == ["$ echo ran", "ran", f"$ {UNTIL_TOLD}"]
    eventually(lambda: [found.state for found in executor.find()] == ["exited"])
    with pytest.raises(JobFailed, match="has already run"):
        another_daemon(tmp_path).sandbox(job).release(Dependencies())


def test_a_container_that_died_at_its_gate_is_started_again(
    executor: DockerExecutor, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """As when the host, and with it engine and daemon, is restarted while jobs wait."""
    job = assignment("cat a.txt")
    sandbox = executor.sandbox(job)
    sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"a.txt": "still here"})))
    sandbox.hold()
    docker_client.containers.get(container_name(job)).kill()
    second = another_daemon(tmp_path)
    assert [found.state for found in second.find()] == ["created"]
    sandbox = second.sandbox(job)
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    assert log.endswith(b"still here")


def test_preparing_again_uses_the_container_that_was_started(executor: DockerExecutor, tmp_path: Path) -> None:
    job = assignment("cat a.txt")
    first = executor.sandbox(job)
    first.prepare(tar_workspace(tar_of(tmp_path / "1.tar", {"a.txt": "one\n"})))
    first.hold()
    ran = run_job(executor, job, workspace=tar_of(tmp_path / "2.tar", {"a.txt": "two\n"}))
    assert ran.lines[1:] == ["one"]


def test_a_container_that_was_never_started_is_made_anew(executor: DockerExecutor, tmp_path: Path) -> None:
    """Nobody knows which of its files an earlier daemon has laid in."""
    job = assignment("ls")
    executor.sandbox(job).prepare(tar_workspace(tar_of(tmp_path / "1.tar", {"a.txt": "one\n"})))
    ran = run_job(executor, job, workspace=tar_of(tmp_path / "2.tar", {"b.txt": "two\n"}))
    assert ran.lines[1:] == ["b.txt"]


def test_a_container_of_another_job_under_the_same_name_is_replaced(executor: DockerExecutor) -> None:
    """A coordinator whose database was removed counts from 1 again."""
    old = assignment("echo old", attempt="1.1", run=1)
    executor.sandbox(old).prepare(None)
    assert run_job(executor, assignment("echo new", attempt="1.1", run=1)).lines == ["$ echo new", "new"]


def test_an_image_without_a_shell_is_named_as_such(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["/bin/nothing-here"])
    with pytest.raises(JobFailed, match=r"can't be started.*nothing-here") as failed:
        run_job(executor, assignment("true", image=spec))
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE


def test_an_entrypoint_that_runs_something_else_is_no_success(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["echo", "my own business"])
    with pytest.raises(JobFailed, match=r"before the script began.*my own business"):
        run_job(executor, assignment("true", image=spec))


def test_a_container_that_is_killed_from_outside_is_no_failure_of_the_script(
    executor: DockerExecutor, docker_client: docker.DockerClient
) -> None:
    job = assignment("echo begun", "sleep 600")
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    container = docker_client.containers.get(container_name(job))
    eventually(lambda: b"begun\n" in container.logs())
    container.kill()
    outcome = sandbox.wait()
    assert outcome.exit_code == 137
    assert "from outside" in outcome.failure


def test_a_container_that_is_gone_is_told(executor: DockerExecutor, docker_client: docker.DockerClient) -> None:
    job = assignment("sleep 600")
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    docker_client.containers.get(container_name(job)).remove(force=True)
    with pytest.raises(JobFailed, match="removed from outside the job"):
        sandbox.wait()
