"""The log in `$PAGER`: in a real terminal, which the dashboard hands over and takes back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.eventually import eventually
from tests.support.plans import job, plan

LONGSHORE = Path(sys.executable).with_name("longshore")
PAGER = """#!/bin/sh
cat "$1" > got.log
echo the pager has the terminal
read line
echo "$line" > typed
"""


@contextlib.contextmanager
def terminal(command: list[str], folder: Path, **environment: str) -> Iterator[tuple[int, bytearray]]:
    """A process in a terminal of its own: where to type, and what it has shown so far."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    outside = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**outside, "TERM": "xterm-256color", **environment},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = bytearray()
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while not ended.is_set():
                if select.select([master], [], [], 0.1)[0]:
                    shown.extend(os.read(master, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield master, shown
    finally:
        process.kill()
        process.wait()
        ended.set()
        reader.join()
        os.close(master)


def test_the_pager_gets_the_log_and_the_keys_and_the_dashboard_comes_back(
    server: Server, worker: ScriptedWorker, tmp_path: Path
) -> None:
    log = b"".join(b"\x1b[32mline %d\x1b[0m\n" % number for number in range(5000))
    server.submit(plan(job("compile", "build")))
    worker.run("compile", log)
    pager = tmp_path / "pager"
    pager.write_text(PAGER)
    pager.chmod(0o755)
    command = [str(LONGSHORE), "tui", "--coordinator", server.address]
    with terminal(command, tmp_path, PAGER=str(pager)) as (keyboard, shown):

        def press(keys: bytes, until: bytes) -> None:
            before = len(shown)
            os.write(keyboard, keys)
            eventually(lambda: until in shown[before:])

        eventually(lambda: b"0:0" in shown and b"success" in shown)
        press(b"\r", b"line 4999")  # of the job under the cursor
        press(b"\r", b"Pager")
        press(b"o", b"the pager has the terminal")
        assert (tmp_path / "got.log").read_bytes() == log
        press(b"qn\r", b"Pager")  # for the pager, not for the dashboard
        assert (tmp_path / "typed").read_text() == "qn\n"
        press(b"\x1b", b"Next failed")
