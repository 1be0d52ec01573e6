"""Kept containers of ended jobs, and commands in them and in running ones, through whole systems."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import docker

from tests.support.documents import check_document
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import LONGSHORE, UNTIL_TOLD, Done, System, jobs_of, leftovers, repository, running, tell
from tests.support.terminal import terminal

FILE = """
default: {image: longshore/busybox:test}
bad:
  variables: {GREETING: hello}
  script: [export LEFT=1, echo wrong > left.txt, echo before, exit 3]
  after_script: [echo after > after.txt]
good: {script: [echo fine]}
"""
EVERY_BYTE = bytes(range(256)) * 4096
"""A megabyte: more than may be in flight."""


def execute(system: System, run: int, job: str, *command: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
    """`longshore exec` with this on its stdin: exit status, stdout, stderr."""
    done = subprocess.run(
        [str(LONGSHORE), "exec", str(run), job, "--", *command],
        input=given,
        capture_output=True,
        env=system.environment(),
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def kept(system: System, run: int) -> set[str]:
    """The jobs of a run whose containers are kept, as `show` says."""
    return {name for name, job in jobs_of(system.show(run)).items() if job["kept_until"] is not None}


def test_a_failed_jobs_container_is_kept_as_the_script_left_it(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "kept-project", {".gitlab-ci.yml": FILE})
    done: Done = fleet.run(project, "--keep-on-failure")
    assert done.status == 1, done.err
    run = done.json["id"]
    check_document("run", done.json)
    (failure,) = done.json["failures"]
    assert failure["shell_command"] == f"longshore shell {run} bad"
    assert f"  shell in it: longshore shell {run} bad\n" in done.err
    assert "--keep-on-failure" not in done.err
    assert kept(fleet, run) == {"bad"}
    (worker,) = [worker for worker in fleet.workers() if f"{run}/bad" in worker["kept"]]
    assert worker["running"] == 0

    look = "cat left.txt after.txt; echo $GREETING; pwd; env | grep LONGSHORE; echo aside >&2; exit 7"
    status, out, err = execute(fleet, run, "bad", "sh", "-c", look)
    assert (status, out.decode().split(), err) == (
        7,
        ["wrong", "after", "hello", "/builds/local/kept-project"],
        b"aside\n",
    )
    assert execute(fleet, run, "bad", "cat", given=EVERY_BYTE) == (0, EVERY_BYTE, b"")
    assert execute(fleet, run, "bad", "head", "-c", "1", given=EVERY_BYTE)[:2] == (0, b"\0")
    status, _, err = execute(fleet, run, "bad", "no-such-program")
    assert status == 127
    status, _, err = execute(fleet, run, "good", "true")
    assert status == 2
    assert b"--keep-on-failure" in err

    status, out, _ = execute(fleet, run, "bad", "longshore-script", "--from", "3")
    assert (status, out) == (3, b"$ echo before\nbefore\n$ exit 3\n")
    assert execute(fleet, run, "bad", "longshore-script", "--list")[1].splitlines()[1] == b"   2  echo wrong > left.txt"

    assert fleet.command("drop", str(run)).out == f"dropped 1 kept container of run {run}\n"
    assert kept(fleet, run) == set()
    assert execute(fleet, run, "bad", "true")[0] == 2
    assert fleet.command("drop", str(run)).status == 2
    audit = fleet.command("audit").out
    assert all(word in audit for word in ("exec", "drop", look[:20]))


def test_a_command_runs_in_a_running_job_and_ends_with_its_client(
    fleet: System, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    file = f"job: {{image: 'longshore/busybox:test', script: ['{UNTIL_TOLD}']}}"
    project = repository(tmp_path / "running-project", {".gitlab-ci.yml": file})
    run = fleet.submit(project)
    eventually(lambda: fleet.status(run, "job") == "running")
    assert execute(fleet, run, "job", "sh", "-c", "echo $CI_JOB_NAME") == (0, b"job\n", b"")
    (container,) = running(docker_client, fleet.coordinator_id, run)

    def sleeps() -> bool:
        return any("sleep 987" in " ".join(process) for process in container.top()["Processes"])

    for end, status in (
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGINT, 128 + signal.SIGINT),
        (signal.SIGKILL, -9),
    ):
        client = subprocess.Popen(
            [str(LONGSHORE), "exec", str(run), "job", "--", "sleep", "987"],
            stdin=subprocess.DEVNULL,
            env=fleet.environment(),
        )
        eventually(sleeps)
        os.kill(client.pid, end)
        assert client.wait(DEADLINE) == status
        eventually(lambda: not sleeps())
    tell(docker_client, fleet.coordinator_id, run)
    assert fleet.finished(run)["status"] == "success"


def test_a_shell_is_a_terminal_with_the_jobs_secrets_masked(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "shell-project", {".gitlab-ci.yml": FILE})
    secret = subprocess.run(
        [str(LONGSHORE), "secret", "set", "SHELL_SECRET", "--project", "local/shell-project"],
        input=b"open-sesame-1",
        env=fleet.environment(),
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert secret.returncode == 0, secret.stderr
    run = fleet.run(project, "--keep-on-failure").json["id"]
    environment = {**fleet.environment(), "TERM": "xterm"}
    with terminal([str(LONGSHORE), "shell", str(run), "bad"], tmp_path, **environment) as screen:
        screen.press(b"", b"# ")
        assert screen.is_raw
        assert b"36 120" in screen.press(b"stty size\r", b"36 120")
        screen.resize(40, 100)
        eventually(lambda: b"40 100" in screen.press(b"stty size; echo is$((1+1))\r", b"is2"))
        assert b"xterm hello" in screen.press(b"echo $TERM $GREETING\r", b"xterm hello")
        screen.press(b"echo be''gun; sleep 987; echo af''ter\r", b"begun")
        screen.press(b"\x03", b"# ")
        assert b"after" not in screen.shown
        screen.press(b"printf '%s\\n' $SHELL_SECRET; printf open-; sleep 0.2; printf '%s\\n' sesame-1\r", b"[MASKED]")
        eventually(lambda: screen.shown.count(b"[MASKED]") == 2)
        assert b"open-sesame-1" not in screen.shown
        os.write(screen.keyboard, b"exit 5\r")
        assert screen.process.wait(DEADLINE) == 5
        assert not screen.is_raw
    with terminal([str(LONGSHORE), "shell", str(run), "bad"], tmp_path, **environment) as screen:
        screen.press(b"", b"# ")
        screen.process.terminate()
        assert screen.process.wait(DEADLINE) == 128 + signal.SIGTERM
        assert not screen.is_raw
    with terminal([str(LONGSHORE), "tui"], tmp_path, **environment) as screen:
        screen.press(b"", b"F failed")
        screen.press(b"\r", b"Shell")  # the run; the cursor is on its failed job
        before = len(screen.shown)

        def opened() -> bool:
            """Presses the key again if it came while the page drew its jobs anew: then none is under the cursor."""
            os.write(screen.keyboard, b"S")
            with contextlib.suppress(AssertionError):
                return eventually(lambda: b"# " in screen.shown[before:], within=5.0)
            return False

        eventually(opened)
        screen.press(b"\x15echo $CI_JOB_NAME$((1+1))\r", b"bad2")  # Ctrl-U: a key too many is not part of it
        screen.press(b"exit\r", b"Shell")
    assert fleet.command("shell", str(run), "bad").status == 2  # without a terminal
    assert fleet.command("drop", str(run)).status == 0


def test_a_kept_container_survives_kills_and_ends_when_its_time_is_over(
    system: System, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    coordinator = system.start_coordinator()
    worker = system.start_worker("w1")
    system.wait_for_workers(1)
    file = f"""
default: {{image: longshore/busybox:test}}
bad: {{script: [echo wrong > left.txt, "{UNTIL_TOLD}", exit 4]}}
good: {{script: [echo fine]}}
"""
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file})
    run = system.submit(project, "--keep", "good", "--keep-on-failure")
    eventually(lambda: (system.status(run, "bad"), system.status(run, "good")) == ("running", "success"))
    worker.kill()
    tell(docker_client, system.coordinator_id, run, "bad")  # its script ends while no daemon is there
    worker = system.start_worker("w1")
    assert jobs_of(system.finished(run))["bad"]["exit_code"] == 4
    assert kept(system, run) == {"good", "bad"}
    client = subprocess.Popen(
        [str(LONGSHORE), "exec", str(run), "bad", "--", "sh", "-c", "echo begun; sleep 987"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=system.environment(),
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"begun\n"
    worker.kill()
    coordinator.kill()
    system.start_coordinator()
    assert kept(system, run) == {"good", "bad"}
    system.start_worker("w1")
    system.wait_for_workers(1)
    status = client.wait(DEADLINE)
    assert client.stderr is not None
    assert (status, b"longshore: " in client.stderr.read()) == (255, True)
    assert execute(system, run, "bad", "cat", "left.txt") == (0, b"wrong\n", b"")
    assert system.command("drop", str(run), "bad").status == 0
    assert kept(system, run) == {"good"}
    assert execute(system, run, "good", "true")[0] == 0
    again = system.run(project, "--job", "good", "--keep", "good", "--keep-for", "1s").json["id"]
    eventually(lambda: kept(system, again) == set())
    assert system.command("drop", str(run)).status == 0
    eventually(lambda: leftovers(docker_client, system.coordinator_id) == [])
