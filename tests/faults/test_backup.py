"""A backup that is made while runs go on is whole, and a coordinator starts on it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.fleet import Fleet
from tests.support.eventually import eventually
from tests.support.system import System, repository, statuses

RUNNING = """
default: {image: longshore/busybox:test}
stages: [make, use]
make:
  stage: make
  script: [echo made > made.txt, echo made it]
  artifacts: {paths: [made.txt]}
use:
  stage: use
  script: ['i=0; while [ $i -lt 30 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done', cat made.txt]
"""


def test_a_backup_of_a_coordinator_at_work_is_whole_and_starts(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.add_worker("w")
    fleet.wait_for_workers(1)
    project = repository(tmp_path / "project", {".gitlab-ci.yml": RUNNING})
    ended = fleet.finished(fleet.submit(project))
    run = fleet.submit(project)
    eventually(lambda: "line 3\n" in fleet.logged(run, "use"))
    copy = tmp_path / "copy"
    done = fleet.command("backup", str(copy))
    assert done.status == 0, done.err
    assert "2 runs" in done.out
    assert fleet.command("backup", str(copy)).status == 2

    # the machine is lost, and with it what happened after the copy
    assert worker.process is not None
    assert fleet.coordinator is not None
    worker.process.kill()
    fleet.coordinator.kill()
    shutil.rmtree(fleet.state)
    copy.rename(fleet.state)
    with closing(sqlite3.connect(fleet.state / "longshore.db")) as rows:
        assert rows.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    fleet.start_coordinator()
    assert "line 29\n" in fleet.log(ended["id"], "use")
    timed = fleet.command("logs", str(ended["id"]), "use", "-t").out.splitlines()
    assert all(line.startswith("20") for line in timed), "the times of lines are in the backup"
    fleet.restart(worker)
    view = fleet.finished(run)
    assert statuses(view) == {"make": "success", "use": "success"}
    lines = [line for line in fleet.log(run, "use").splitlines() if line.startswith("line ")]
    assert lines == [f"line {i}" for i in range(30)]
    assert fleet.submit(project) == run + 1


@pytest.mark.parametrize("state", ["nothing", "a copy within"])
def test_what_can_not_be_backed_up_is_refused(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    system = System(folder)
    if state == "nothing":
        done = system.command("backup", str(tmp_path / "copy"))
        assert "LONGSHORE_STATE" in done.err
    else:
        system.command("list")
        done = system.command("backup", str(folder / "state" / "copy"))
        assert "within" in done.err
    assert done.status == 2
    assert not (tmp_path / "copy").exists()
