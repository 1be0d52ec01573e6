"""Dashboards that were suspended, or came in the middle of a storm of events, know in the end what the others know."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from tests.conftest import ROOT
from tests.faults.fleet import Fleet
from tests.faults.watcher import Known
from tests.support.eventually import eventually
from tests.support.plans import job, plan

STORM = 5000
"""Events, at least, until it is one."""


class Watcher:
    """A dashboard's feed in a process of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.watcher", str(fleet.address)],
            cwd=ROOT,
            env=fleet.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def known(self) -> Known:
        """What it knows now."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return msgspec.json.decode(self.process.stdout.readline(), type=Known)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("seconds", [4.0, pytest.param(60.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_who_missed_events_ends_with_the_same_state_as_who_saw_them_all(tmp_path: Path, seconds: float) -> None:
    fleet = Fleet(tmp_path)
    fleet.start_coordinator()
    watchers = [Watcher(fleet), Watcher(fleet)]
    storm = threading.Event()
    submitted: list[int] = []

    def blow() -> None:
        """Runs come and are canceled, as fast as it goes."""
        with fleet.client() as client:
            while not storm.is_set():
                submitted.append(client.submit_run(plan(*(job(f"job {n}", needs=[]) for n in range(20)))))
                client.cancel(submitted[-1])

    thread = threading.Thread(target=blow)
    try:
        eventually(lambda: all(watcher.known().online for watcher in watchers))
        thread.start()
        steady, suspended = watchers
        eventually(lambda: steady.known().seq > 100)
        os.kill(suspended.process.pid, signal.SIGSTOP)
        threading.Event().wait(seconds / 2)
        eventually(lambda: steady.known().seq > STORM / 2)
        late = Watcher(fleet)
        watchers.append(late)
        threading.Event().wait(seconds / 2)
        eventually(lambda: steady.known().seq > STORM)
        os.kill(suspended.process.pid, signal.SIGCONT)
        storm.set()
        thread.join()

        def newest(watcher: Watcher) -> int:
            runs = watcher.known().runs
            return runs[0].id if runs else 0

        eventually(lambda: {newest(watcher) for watcher in watchers} == {submitted[-1]})
        eventually(lambda: len({watcher.known().seq for watcher in watchers}) == 1)
        seen = [watcher.known() for watcher in watchers]
        assert seen[0].runs == seen[1].runs == seen[2].runs
        assert {run.status.value for run in seen[0].runs} == {"canceled"}
    finally:
        storm.set()
        for watcher in watchers:
            watcher.close()
        fleet.stop()
