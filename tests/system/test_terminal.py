"""What people see who sit at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.support import forking
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import LONGSHORE, UNTIL_TOLD, System, repository, running, tell

ROWS, COLUMNS = 40, 120


@dataclass(slots=True)
class Terminal:
    """A longshore process whose terminal we are."""

    popen: forking.Forked
    master: int
    shown: bytes = b""

    def wait_for(self, text: bytes) -> None:
        """Until the process has written `text`."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-2000:]
            self._read(0.1)

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self.master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Makes the terminal larger or smaller."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """The exit status; all that was written is in `shown` then."""
        deadline = time.monotonic() + DEADLINE
        while (status := self.popen.poll()) is None:
            assert time.monotonic() < deadline, self.shown[-2000:]
            self._read(0.05)
        self._read(0)
        return status

    def _read(self, wait: float) -> None:
        while select.select([self.master], [], [], wait)[0]:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            self.shown += data
            wait = 0


@contextlib.contextmanager
def terminal(system: System, *arguments: str, cwd: Path | None = None) -> Iterator[Terminal]:
    """`longshore ARGUMENTS` in a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    popen = forking.fork(
        [str(LONGSHORE), *arguments],
        cwd=cwd or system.folder,
        environment=system.environment() | {"TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield Terminal(popen, master)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        os.close(master)


def test_a_run_is_shown_in_colour(fleet: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo hello]}"
    with terminal(fleet, "run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": file})) as shown:
        assert shown.end() == 0
        assert b"\x1b[1;32m$ echo hello\x1b[0m" in shown.shown
        assert b"success" in shown.shown


def test_the_dashboard_brings_what_it_needs_and_takes_it_along(system: System) -> None:
    with terminal(system, "tui") as dashboard:
        dashboard.wait_for(b"\x1b[?1049h")
        dashboard.wait_for(b"Runs")
        assert (system.folder / "state" / "coordinator.json").exists()
        dashboard.type(b"q")
        assert dashboard.end() == 0
    assert not (system.folder / "state" / "coordinator.json").exists()


STAGES = f"""
default: {{image: longshore/busybox:test}}
stages: [build, test]
compile: {{stage: build, script: [echo compiled, "{UNTIL_TOLD}"]}}
check: {{stage: test, script: [echo checked]}}
"""


def newest(fleet: System) -> int:
    """The run that was started last."""
    return max(each["id"] for each in fleet.command("list", "--json").json)


def compiled(client: docker.DockerClient, fleet: System, run: int) -> None:
    """Lets the first job of STAGES end."""
    eventually(lambda: running(client, fleet.coordinator_id, run, "compile"))
    tell(client, fleet.coordinator_id, run, "compile")


def test_a_run_shows_its_stages_and_busy_jobs_below_its_lines_until_it_ends(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    with terminal(fleet, "run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": STAGES})) as shown:
        shown.wait_for(b"compile\x1b[0m\x1b[90m running on w")
        shown.wait_for(b"0/1")
        shown.wait_for(b"0 of 2 jobs done, 1 at work")
        compiled(docker_client, fleet, newest(fleet))
        assert shown.end() == 0
    last_foot = shown.shown.rindex(b"jobs done")
    assert shown.shown.index(b"\x1b[2K", last_foot) < shown.shown.index(b"Stage", last_foot)


def test_a_plain_run_moves_no_cursor(fleet: System, tmp_path: Path) -> None:
    file = STAGES.replace(UNTIL_TOLD, "true")
    with terminal(fleet, "run", "--plain", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": file})) as shown:
        assert shown.end() == 0
    assert b"checked" in shown.shown
    assert b"\x1b[2K" not in shown.shown
    assert b"jobs done" not in shown.shown


def test_a_terminal_that_becomes_tiny_takes_nothing_from_the_output(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    with terminal(fleet, "run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": STAGES})) as shown:
        shown.wait_for(b"at work")
        shown.resize(3, 12)
        compiled(docker_client, fleet, newest(fleet))
        assert shown.end() == 0
    assert b"| checked" in shown.shown.replace(b"\x1b[0m", b"")


def test_ctrl_c_below_the_live_view_cancels_the_run(system: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo up, sleep 200]}"
    with terminal(system, "run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": file})) as shown:
        shown.wait_for(b" running on local")
        shown.popen.send_signal(signal.SIGINT)
        assert shown.end() == 3
    assert b"canceling run 1" in shown.shown


SAID_TO_A_TERMINAL = (
    "\x1b]0;title\x07\x1b[2J\x1b[1;1H\x1b[?1049h\x1b[31mred\n"
    "\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\\n"
    "\x1b[0m10%\r20%\x9bH\u202e\n"
)
COMMANDING = ("\x1b]", "\x1b[2J", "\x1b[1;1H", "\x1b[?1049h", "10%", "\x9b", "\u202e")
SAYS_IT = {
    ".gitlab-ci.yml": "job: {image: longshore/busybox:test, script: [cat said]}",
    "said": SAID_TO_A_TERMINAL,
}


def test_a_job_colours_its_lines_on_a_terminal_and_does_nothing_else_to_it(fleet: System, tmp_path: Path) -> None:
    with terminal(fleet, "run", "--plain", cwd=repository(tmp_path / "project", SAYS_IT)) as shown:
        assert shown.end() == 0
    run = str(newest(fleet))
    with terminal(fleet, "logs", run, "job") as alone, terminal(fleet, "logs", run, "-f") as together:
        assert (alone.end(), together.end()) == (0, 0)
    for each in (shown, alone, together):
        text = each.shown.decode()
        for line in ("\x1b[31mred\x1b[0m\r\n", "\x1b[31mlink\x1b[0m\r\n", "\x1b[0m20%\r\n"):
            assert line in text
        assert [each for each in COMMANDING if each in text] == []


def test_a_log_is_exact_where_it_goes_to_a_file_and_on_request(fleet: System, tmp_path: Path) -> None:
    run = fleet.submit(repository(tmp_path / "project", SAYS_IT))
    assert fleet.finished(run)["status"] == "success"
    command = [str(LONGSHORE), "logs", str(run), "job"]
    piped = forking.run(command, cwd=fleet.folder, environment=fleet.environment(), within=DEADLINE)
    assert piped.stdout == b"$ cat said\n" + SAID_TO_A_TERMINAL.encode()
    with terminal(fleet, "logs", str(run), "job", "--raw") as raw:
        assert raw.end() == 0
    assert raw.shown.replace(b"\r\n", b"\n") == piped.stdout


def test_a_watched_run_is_drawn_until_it_has_ended(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": STAGES}))
    with terminal(fleet, "show", str(run), "--watch") as shown:
        shown.wait_for("● running".encode())
        compiled(docker_client, fleet, run)
        assert shown.end() == 0
    end = shown.shown.decode()
    assert "✓ success" in end[end.rindex(f"Run {run}") :]


def test_what_was_watched_stays_on_the_terminal_after_ctrl_c(fleet: System, tmp_path: Path) -> None:
    jobs = "".join(f"check {n}: {{stage: test, script: [echo checked]}}\n" for n in range(ROWS))
    files = {".gitlab-ci.yml": STAGES + jobs}
    run = fleet.submit(repository(tmp_path / "project", files))
    with terminal(fleet, "show", str(run), "--watch") as shown:
        shown.wait_for(b"compile\x1b[0m\x1b[90m running on w")  # too long for the terminal: its stages and busy jobs
        shown.popen.send_signal(signal.SIGINT)
        assert shown.end() == 130
    left = shown.shown.decode()[shown.shown.decode().rindex(f"Run {run}") :]
    assert f"0/{ROWS + 1}" in left
    assert "\x1b[2K" not in left
    fleet.command("cancel", str(run))


def test_a_run_watched_without_a_terminal_is_told_a_line_a_change(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": STAGES}))
    watching = fleet.start("show", str(run), "--watch")
    eventually(lambda: "compile: running on w" in watching.out.read_text())
    compiled(docker_client, fleet, run)
    assert watching.popen.wait(DEADLINE) == 0, watching.said
    lines = watching.out.read_text().splitlines()
    assert f"run {run}: success" in lines
    starts = ("compile: running on w", "compile: success in ")
    seen = [next(number for number, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert seen == sorted(seen)
    assert fleet.command("show", str(run), "--watch", "--json").status == 2
