"""An image's entrypoint may take our command, drop it, or need its time; one that never comes to a shell fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from daemon.executors.base import Dependencies, Interrupted, JobFailed
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.gate import SignsOfLife
from daemon.executors.docker.networks import pause_container
from protocol.plan import ImageSpec
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER, container_name, run_job, tar_of
from tests.support.eventually import DEADLINE, eventually
from tests.support.images import BUSYBOX, DASH, DEBIAN, NO_SHELL
from tests.support.plans import assignment, variables

IN_THE_END = "while read -r line; do :; done </etc/passwd; exec "


# dash is what Debian's `sh` is too, and that an image without bash has its job in `sh` shows in busybox
@pytest.mark.parametrize("image", [BUSYBOX, DEBIAN, pytest.param(DASH, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "entrypoint",
    [
        ["/bin/sh", "-c"],
        ["sh", "-ec"],
        ["env", "sh", "-c"],
        ["sh", "-c", "echo ready to prepare; sh -c $0"],
        ["sh", "-c", 'exec "$@"', "--"],
        ["sh", "-c", IN_THE_END + "sh"],
        ["sh", "-c", IN_THE_END + "env -i sh"],
        ["env", "-i", "PATH=/bin:/usr/bin"],
        ["env", "-i", "sh", "-c"],
        ["/bin/sh"],
        ["env", "sh", "-eu"],
        ["sh", "-c", "(while echo noise >&2; do sleep 0.05; done) & exec sh"],
        [""],
        [],
    ],
    ids=str,
)
def test_whatever_comes_to_a_shell_runs_the_job(
    executor: DockerExecutor, tmp_path: Path, image: str, entrypoint: list[str]
) -> None:
    job = assignment(
        'echo "$GREETING from $CI_PROJECT_NAME" >&2',
        "cat file later",
        "exit 3",
        image=ImageSpec(name=image, entrypoint=entrypoint),
        variables=variables(GREETING="it's\na 'hello'", CI_PROJECT_NAME="project"),
        after_script=["echo $CI_JOB_STATUS"],
    )
    workspace = tar_of(tmp_path / "w.tar", {"file": "a file\n"})
    later = tar_of(tmp_path / "later.tar", {"later": "an artifact\n"})
    ran = run_job(executor, job, workspace=workspace, dependencies=Dependencies(archives=[later]))
    assert ran.outcome.exit_code == 3
    lines = [line for line in ran.lines if line not in ("noise", "ready to prepare")]
    assert lines == [
        '$ echo "$GREETING from $CI_PROJECT_NAME" >&2',
        "it's",
        "a 'hello' from project",
        "$ cat file later",
        "a file",
        "an artifact",
        "$ exit 3",
        "$ echo $CI_JOB_STATUS",
        "failed",
    ]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits 3 s where 30 are usual."""
    monkeypatch.setattr("daemon.executors.docker.gate.QUIET_SECONDS", 3.0)
    monkeypatch.setattr("daemon.executors.docker.ending.QUIET_SECONDS", 3.0)
    monkeypatch.setattr("daemon.executors.docker.gate.LOOK_SECONDS", 0.5)
    monkeypatch.setattr("daemon.executors.docker.ending.LOOK_SECONDS", 0.5)


@pytest.mark.parametrize(
    "entrypoint",
    [
        ["sh", "-c", "echo what shall I do; cat >/dev/null"],
        ["sh", "-c", "echo what shall I do; exec sleep 1000"],
        ["sh", "-c", "echo what shall I do; while sleep 1; do :; done"],
    ],
    ids=str,
)
def test_an_entrypoint_that_never_comes_to_a_shell_fails_the_job_and_says_how_to_do_without(
    executor: DockerExecutor, impatient: None, entrypoint: list[str], leftovers: Callable[[], list[str]]
) -> None:
    begun = time.monotonic()
    with pytest.raises(JobFailed) as failed:
        run_job(executor, assignment("true", image=ImageSpec(name=BUSYBOX, entrypoint=entrypoint)))
    assert 3 < time.monotonic() - begun < DEADLINE
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert "it gave no sign of life for 3 s" in failed.value.message
    assert "its output: what shall I do" in failed.value.message
    assert 'entrypoint: [""]' in failed.value.message
    eventually(leftovers, so=lambda left: not left)


def test_an_entrypoint_that_ends_fails_the_job_and_says_how_to_do_without(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["cat"])
    with pytest.raises(JobFailed, match=r'invalid option(.|\n)*entrypoint: \[""\]'):
        run_job(executor, assignment("true", image=spec))


def test_an_entrypoint_may_take_as_long_as_it_is_at_work(executor: DockerExecutor, impatient: None) -> None:
    entrypoint = ["sh", "-c", 'for _ in 1 2 3 4 5 6; do sleep 1; echo at work >&2; done; exec "$@"', "--"]
    begun = time.monotonic()
    ran = run_job(executor, assignment("echo ran", image=ImageSpec(name=BUSYBOX, entrypoint=entrypoint)))
    assert time.monotonic() - begun > 6
    assert ran.lines == ["at work"] * 6 + ["$ echo ran", "ran"]


def test_a_silent_entrypoint_is_known_to_be_at_work_by_its_cpu_time(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["sh", "-c", "sha256sum /dev/zero & wait"])
    job = assignment("true", image=spec)
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.hold()
    signs = SignsOfLife(DockerClient(), container_name(job), lambda: 0)
    before = signs.state()
    assert before.isdigit()
    eventually(lambda: signs.state() != before, every=0.2)
    sandbox.remove()


def test_a_paused_container_is_not_taken_for_one_that_never_answers(
    executor: DockerExecutor, impatient: None, docker_client: docker.DockerClient
) -> None:
    entrypoint = ["sh", "-c", 'sleep 1; exec "$@"', "--"]
    job = assignment("echo ran", image=ImageSpec(name=BUSYBOX, entrypoint=entrypoint))
    sandbox = executor.sandbox(job)
    sandbox.prepare(None)
    sandbox.hold()
    container = docker_client.containers.get(container_name(job))
    container.pause()
    goes_on = threading.Timer(6, container.unpause)
    goes_on.start()
    sandbox.release(Dependencies())
    assert sandbox.wait().exit_code == 0
    goes_on.join()


def test_a_gate_that_opens_and_does_not_answer_fails_the_job(executor: DockerExecutor, impatient: None) -> None:
    sandbox = executor.sandbox(assignment("true", image=NO_SHELL))
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    with pytest.raises(JobFailed, match="the job's shell does not start") as failed:
        sandbox.wait()
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    sandbox.remove()


def test_a_stop_of_a_job_whose_gate_does_not_answer_takes_a_moment(
    executor: DockerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause_container, "READY_SECONDS", 1.0)  # for a network, which this image never makes
    sandbox = executor.sandbox(assignment("true", image=NO_SHELL))
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    begun = time.monotonic()
    sandbox.stop(600)
    assert sandbox.wait().exit_code == 137
    assert time.monotonic() - begun < DEADLINE
    sandbox.remove()


def test_an_attempt_that_nobody_wants_any_more_waits_for_no_entrypoint(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["sh", "-c", "exec sleep 1000"])
    sandbox = executor.sandbox(assignment("true", image=spec))
    sandbox.prepare(None)
    threading.Timer(0.5, sandbox.interrupt).start()
    with pytest.raises(Interrupted):
        sandbox.release(Dependencies())
    sandbox.remove()


@pytest.mark.parametrize("shell", ["exec sh", "exec env -i sh"])
def test_another_daemon_finds_an_entrypoint_at_work_and_sees_the_job_through(
    executor: DockerExecutor, tmp_path: Path, shell: str
) -> None:
    spec = ImageSpec(name=DASH, entrypoint=["sh", "-c", f"sleep 2; {shell}"])
    job = assignment("echo $GREETING", image=spec, variables=variables(GREETING="hello"))
    held = executor.sandbox(job)
    held.prepare(None)
    held.hold()
    second = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    assert [found.state for found in second.find()] == ["held"]
    sandbox = second.sandbox(job)
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    assert log.decode().splitlines() == ["$ echo $GREETING", "hello"]


def test_a_container_with_an_entrypoint_that_died_at_its_gate_is_started_again(
    executor: DockerExecutor, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    spec = ImageSpec(name=DASH, entrypoint=["sh", "-c", "sleep 0.5; exec sh"])
    job = assignment("echo ran", image=spec)
    held = executor.sandbox(job)
    held.prepare(None)
    held.hold()
    container = docker_client.containers.get(container_name(job))
    eventually(lambda: b"longshore ready" in container.logs())
    container.kill()
    sandbox = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    assert log.endswith(b"ran\n")
