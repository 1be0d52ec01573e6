"""Stopping: SIGTERM to all processes of the script, SIGKILL after the grace, then after_script, then the end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from daemon.executors.base import Dependencies, Outcome
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.sandbox import DockerSandbox
from protocol.messages import Assignment
from protocol.plan import ImageSpec
from tests.support.docker_jobs import WORKER
from tests.support.eventually import DEADLINE
from tests.support.images import BUSYBOX, DASH, DEBIAN
from tests.support.plans import assignment

GRACE = 600.0
"""Seconds after which a script would be killed: far more than any of these takes to end."""
every_shell = pytest.mark.parametrize("image", [BUSYBOX, DEBIAN, DASH], ids=["busybox", "bash", "dash"])


def stopped(
    executor: DockerExecutor, job: Assignment, stop: Callable[[DockerSandbox], None], *, after: bytes
) -> tuple[Outcome, list[str], float]:
    """Runs a job until its log has `after`, then stops it; how it ended, its log, and how long that took."""
    sandbox = executor.sandbox(job)
    assert isinstance(sandbox, DockerSandbox)
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    log = bytearray()
    asked: list[float] = []

    def sink(data: bytes) -> None:
        log.extend(data)
        if after in log and not asked:
            asked.append(time.monotonic())
            stop(sandbox)

    sandbox.follow_log(0, sink)
    outcome = sandbox.wait()
    return outcome, log.decode().splitlines(), time.monotonic() - asked[0]


@every_shell
def test_all_processes_get_sigterm_and_after_script_runs(executor: DockerExecutor, image: str) -> None:
    job = assignment(
        "sh -c 'trap \"sleep 0.3; echo child cleaned up; exit\" TERM; echo ready; while :; do sleep 0.1; done'",
        "echo not reached",
        image=image,
        after_script=["echo after: $CI_JOB_STATUS"],
    )
    outcome, log, took = stopped(executor, job, lambda sandbox: sandbox.stop(GRACE), after=b"ready\n")
    words = [line for line in log[1:] if line != "Terminated"]  # what a shell says of a program that it ran
    assert words == ["ready", "child cleaned up", "$ echo after: $CI_JOB_STATUS", "after: canceled"]
    assert outcome.exit_code != 0
    assert outcome.failure == ""
    assert took < DEADLINE


@every_shell
def test_what_ignores_sigterm_is_killed_after_the_grace(executor: DockerExecutor, image: str) -> None:
    job = assignment(
        "trap '' TERM", "echo ready; while :; do sleep 1; done", image=image, after_script=["echo $CI_JOB_STATUS"]
    )
    outcome, log, took = stopped(executor, job, lambda sandbox: sandbox.stop(1, canceled=False), after=b"ready\n")
    assert log[-1] == "failed"
    assert outcome.exit_code == 137
    assert 1 <= took < DEADLINE


def test_a_stop_may_be_told_to_another_daemon(executor: DockerExecutor) -> None:
    job = assignment("echo ready", "sleep 600", after_script=["echo after"])
    another = DockerExecutor(WORKER, coordinator=WORKER)
    _, log, took = stopped(executor, job, lambda sandbox: another.sandbox(job).stop(GRACE), after=b"ready\n")
    assert log[-1] == "after"
    assert took < DEADLINE


def test_a_stop_that_comes_late_leaves_after_script_alone(executor: DockerExecutor) -> None:
    job = assignment("true", after_script=["echo ready", "sleep 1", "echo whole"])
    outcome, log, _ = stopped(executor, job, lambda sandbox: sandbox.stop(0), after=b"ready\n")
    assert log[-1] == "whole"
    assert outcome.exit_code == 0


def test_after_script_takes_no_longer_than_it_may() -> None:
    executor = DockerExecutor(WORKER, coordinator=WORKER, after_script_timeout=1)
    job = assignment("exit 3", after_script=["echo ready", "sleep 600", "echo not reached"])
    try:
        outcome, log, took = stopped(executor, job, lambda sandbox: None, after=b"ready\n")
    finally:
        executor.sweep(set())
    assert outcome.exit_code == 3
    assert log[-1] == "$ sleep 600"
    assert took < DEADLINE


def test_killing_ends_a_job_that_can_not_be_stopped(executor: DockerExecutor) -> None:
    outcome, _, took = stopped(
        executor, assignment("echo ready", "sleep 600"), lambda sandbox: sandbox.kill(), after=b"ready\n"
    )
    assert outcome.exit_code == 137
    assert outcome.failure == ""
    assert took < DEADLINE


def test_stopping_before_the_gate_opens_ends_it_without_any_script(executor: DockerExecutor) -> None:
    sandbox = executor.sandbox(assignment("echo script", after_script=["echo after"]))
    sandbox.prepare(None)
    sandbox.stop(5)
    sandbox.hold()
    sandbox.stop(5)
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 137
    assert log == b""


def test_it_works_below_an_entrypoint_that_stays_the_first_process(executor: DockerExecutor) -> None:
    spec = ImageSpec(name=BUSYBOX, entrypoint=["sh", "-c", 'trap : TERM; "$@"; exit $?', "entrypoint"])
    job = assignment("echo ready", "sleep 600", image=spec, after_script=["echo after: $CI_JOB_STATUS"])
    outcome, log, took = stopped(executor, job, lambda sandbox: sandbox.stop(GRACE), after=b"ready\n")
    assert log[-1] == "after: canceled"
    assert outcome.exit_code == 143
    assert took < DEADLINE
