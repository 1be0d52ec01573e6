"""The log in `$PAGER`: in a real terminal, which the dashboard hands over and takes back."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.eventually import eventually
from tests.support.plans import job, plan
from tests.support.terminal import terminal

LONGSHORE = Path(sys.executable).with_name("longshore")
PAGER = """#!/bin/sh
cat "$1" > got.log
echo the pager has the terminal
read line
echo "$line" > typed
"""


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
    with terminal(command, tmp_path, PAGER=str(pager)) as screen:
        press, shown = screen.press, screen.shown
        eventually(lambda: b"0:0" in shown and b"success" in shown)
        press(b"\r", b"line 4999")  # of the job under the cursor
        press(b"\r", b"Pager")
        press(b"o", b"the pager has the terminal")
        assert (tmp_path / "got.log").read_bytes() == log
        press(b"qn\r", b"Pager")  # for the pager, not for the dashboard
        assert (tmp_path / "typed").read_text() == "qn\n"
        press(b"\x1b", b"Next failed")
