"""A `run` that is asked to end: it cancels its run, or says that the run goes on and how to cancel it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import docker
import pytest

from cli.process.interrupts import PRESS_SECONDS
from tests.support import forking
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import UNTIL_TOLD, Done, System, nobody_serves, repository, running, statuses, tell

LONG = "job: {image: longshore/busybox:test, script: [echo up, sleep 200]}"
STUBBORN = f'job: {{image: longshore/busybox:test, script: [echo up, sleep 200], after_script: ["{UNTIL_TOLD}"]}}'
SHORT = "job: {image: longshore/busybox:test, script: [echo up, sleep 1, echo done]}"
TALKING = "job: {image: longshore/busybox:test, script: ['until [ -e /told ]; do echo up; sleep 0.05; done']}"
"""Prints until it is told to end."""
SIGNALING = "tests.system.signaling"
COMPILE = ("pipeline", "Repository", "ask")
SNAPSHOT = ("snapshots.packs", "Packer", "make")
UPLOAD = ("protocol.client", "Client", "upload")
SUBMIT = ("protocol.client", "Client", "submit_run")
CANCEL = ("protocol.client", "Client", "cancel")


def signaled(place: tuple[str, str, str], moment: str, number: int, times: int, *arguments: str) -> list[str]:
    """The command `longshore run`, signaled at that place."""
    return [sys.executable, "-m", SIGNALING, *place, moment, str(int(number)), str(times), "run", *arguments]


def run_signaled(
    system: System, project: Path, place: tuple[str, str, str], moment: str, number: int, times: int, *arguments: str
) -> Done:
    """Runs it in a project, to its end."""
    command = signaled(place, moment, number, times, *arguments)[2:]
    done = forking.run(command, module=SIGNALING, cwd=project, environment=system.environment(), within=DEADLINE)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def project_of(folder: Path, file: str) -> Path:
    return repository(folder, {".gitlab-ci.yml": file})


def listed(system: System) -> list[tuple[int, str]]:
    return [(run["id"], run["status"]) for run in system.command("list", "--json").json]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_signals_at_once_cancel_the_run(system: System, tmp_path: Path, number: signal.Signals) -> None:
    run = system.start("run", cwd=project_of(tmp_path / "project", LONG))
    eventually(lambda: "job | up\n" in run.out.read_text())
    for _ in range(2):
        run.popen.send_signal(number)
    assert run.popen.wait(DEADLINE) == 3, run.said
    assert statuses(system.show(1)) == {"job": "canceled"}


def test_a_signal_to_the_whole_process_group_cancels_the_run(system: System, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "longshore"), "run"]
    project = project_of(tmp_path / "project", LONG)
    popen = subprocess.Popen(
        command, cwd=project, env=system.environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    assert popen.stdout is not None
    while popen.stdout.readline() != b"job | up\n":
        assert popen.poll() is None
    os.killpg(popen.pid, signal.SIGTERM)
    popen.send_signal(signal.SIGTERM)  # as `timeout` sends both
    popen.stdout.read()
    popen.stdout.close()
    assert popen.wait(DEADLINE) == 3
    assert statuses(system.show(1)) == {"job": "canceled"}


@pytest.mark.parametrize("place", [COMPILE, SNAPSHOT, UPLOAD])
def test_signals_before_a_run_is_submitted_begin_none(
    system: System, tmp_path: Path, place: tuple[str, str, str]
) -> None:
    project = project_of(tmp_path / "project", LONG)
    done = run_signaled(system, project, place, "before", signal.SIGTERM, 2)
    assert (done.status, done.out) == (143, ""), done.err
    assert done.err == "longshore: ended before the run began\n"
    assert listed(system) == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_signals_while_a_run_is_submitted_cancel_it_when_its_id_is_known(
    system: System, tmp_path: Path, moment: str, times: int
) -> None:
    project = project_of(tmp_path / "project", LONG)
    done = run_signaled(system, project, SUBMIT, moment, signal.SIGTERM, times)
    assert done.status == 3, done.err
    assert "canceling run 1" in done.err
    assert listed(system) == [(1, "canceled")]


def test_signals_while_it_is_canceled_do_not_keep_that_from_being_asked_for(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", LONG)
    run = system.spawn(signaled(CANCEL, "before", signal.SIGINT, 2), "run", cwd=project)
    eventually(lambda: "job | up\n" in run.out.read_text())
    run.interrupt()
    assert run.popen.wait(DEADLINE) == 3, run.said
    assert listed(system) == [(1, "canceled")]


def test_the_next_press_leaves_the_containers_of_a_canceled_run_to_the_background_and_says_so(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    run = system.start("run", cwd=project_of(tmp_path / "project", STUBBORN))
    eventually(lambda: "job | up\n" in run.out.read_text())
    coordinator = system.coordinator_id
    run.popen.send_signal(signal.SIGTERM)
    eventually(lambda: "canceling run 1" in run.said)
    time.sleep(PRESS_SECONDS + 0.1)  # what comes sooner is the same press
    run.popen.send_signal(signal.SIGTERM)
    assert run.popen.wait(DEADLINE) == 143
    tell(docker_client, coordinator, 1)
    assert "run 1 is being canceled; a background process finishes that" in run.said
    assert system.finished(1)["status"] == "canceled"
    background = system.folder / "state" / "background.log"
    eventually(lambda: background.exists() and "stopping gracefully" in background.read_text())
    eventually(lambda: nobody_serves(system))


def test_a_hang_up_while_a_run_is_submitted_leaves_it_to_the_background(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", SHORT)
    done = run_signaled(system, project, SUBMIT, "before", signal.SIGHUP, 2)
    assert done.status == 129, done.err
    assert "run 1 continues; " in done.err
    assert "`longshore cancel 1` cancels it" in done.err
    assert system.finished(1)["status"] == "success"
    eventually(lambda: nobody_serves(system))


def test_signals_while_a_detached_run_is_submitted_say_that_it_goes_on(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", SHORT)
    done = run_signaled(system, project, SUBMIT, "before", signal.SIGTERM, 2, "-d")
    assert (done.status, done.out) == (143, "1\n")
    assert "run 1 was already submitted and continues; `longshore cancel 1` cancels it" in done.err
    assert system.finished(1)["status"] == "success"
    eventually(lambda: nobody_serves(system))


def test_at_a_named_coordinator_two_signals_end_only_the_following(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    run = fleet.start("run", cwd=project_of(tmp_path / "project", TALKING))
    eventually(lambda: "job | up\n" in run.out.read_text())
    for _ in range(2):
        run.popen.send_signal(signal.SIGTERM)
    assert run.popen.wait(DEADLINE) == 143
    number = max(each["id"] for each in fleet.command("list", "--json").json)
    assert f"run {number} continues; " in run.said
    tell(docker_client, fleet.coordinator_id, number)
    assert fleet.finished(number)["status"] == "success"


def test_a_run_that_waits_for_a_coordinator_which_does_not_answer_ends_on_a_signal(
    system: System, tmp_path: Path
) -> None:
    coordinator = system.start_coordinator()
    address, system.address = system.address, None  # found by the state directory, not by its address
    coordinator.popen.send_signal(signal.SIGSTOP)
    try:
        run = system.start("run", cwd=project_of(tmp_path / "project", LONG))
        caught = Path(f"/proc/{run.popen.pid}/status")
        eventually(lambda: int(caught.read_text().split("SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1)
        run.popen.send_signal(signal.SIGTERM)
        assert run.popen.wait(DEADLINE) == 143
        assert "ended before the run began" in run.said
    finally:
        coordinator.popen.send_signal(signal.SIGCONT)
        system.address = address


def test_a_run_whose_output_nobody_reads_any_more_says_that_it_goes_on(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    project = project_of(tmp_path / "project", TALKING)
    command = [str(Path(sys.executable).parent / "longshore"), "run"]
    popen = subprocess.Popen(
        command, cwd=project, env=system.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert popen.stdout is not None
    assert popen.stderr is not None
    popen.stdout.readline()
    coordinator = system.coordinator_id
    popen.stdout.close()
    assert b"run 1 continues; " in popen.stderr.read()
    popen.stderr.close()
    popen.wait(DEADLINE)
    eventually(lambda: running(docker_client, coordinator, 1))
    tell(docker_client, coordinator, 1)
    assert system.finished(1)["status"] == "success"
    eventually(lambda: nobody_serves(system))
