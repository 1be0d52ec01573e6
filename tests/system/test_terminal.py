"""What people see who sit at a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.system.harness import DEADLINE, LONGSHORE, System, repository

ROWS, COLUMNS = 40, 120


@dataclass(slots=True)
class Terminal:
    """A longshore process whose terminal we are."""

    popen: subprocess.Popen[bytes]
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

    def end(self) -> int:
        """The exit status; all that was written is in `shown` then."""
        deadline = time.monotonic() + DEADLINE
        while self.popen.poll() is None:
            assert time.monotonic() < deadline, self.shown[-2000:]
            self._read(0.05)
        self._read(0)
        return self.popen.returncode

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
    popen = subprocess.Popen(
        [LONGSHORE, *arguments],
        cwd=cwd or system.folder,
        env=system.environment() | {"TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
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
