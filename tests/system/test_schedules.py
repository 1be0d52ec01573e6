"""Schedules, statuses and messages of a whole system, by the command line, with processes killed in between."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol import admin
from protocol import messages as m
from protocol.client import Client
from tests.support.eventually import eventually
from tests.support.http_receiver import HttpReceiver
from tests.support.system import System, repository

NAME = "group/nightly"
PIPELINE = """
nightly:
  script: [echo]
  rules: [{if: '$CI_PIPELINE_SOURCE == "schedule" && $CI_PIPELINE_SCHEDULE_DESCRIPTION == "every night" && $K == "v"'}]
other:
  script: [echo]
  rules: [{if: '$CI_PIPELINE_SOURCE != "schedule"'}]
"""
HOURS_DOWN = 5


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A coordinator and a worker that runs nothing."""
    folder = tmp_path / "system"
    folder.mkdir()
    made = System(folder)
    made.start_coordinator()
    made.start_worker("w1", "--executor", "dummy")
    yield made
    made.stop()


def launcher(system: System) -> int:
    """The process id of the launcher."""
    lock = system.folder / "state" / "launcher" / "lock"
    return int(eventually(lambda: lock.exists() and lock.read_text().strip()))


def kill_both(system: System) -> None:
    """SIGKILL of the launcher and its coordinator."""
    os.kill(launcher(system), signal.SIGKILL)
    [*_, coordinator] = [process for process in system.processes if process.name == "coordinator"]
    coordinator.kill()


def test_downtime_is_made_up_by_one_run_whose_outcome_arrives_though_both_processes_are_killed(
    system: System, tmp_path: Path
) -> None:
    def ok(*arguments: str) -> str:
        done = system.command(*arguments)
        assert done.status == 0, done.err
        return done.out

    def listed() -> dict[str, object]:
        (one,) = system.command("schedule", "list", NAME, "--json").json
        return dict(one)

    app = repository(tmp_path / "app", {".gitlab-ci.yml": PIPELINE})
    with HttpReceiver() as forge, HttpReceiver() as hook:
        forge.answer = (503, {}, b"")
        api = f"{forge.url}/api/v1"
        ok("project", "add", NAME, str(app), "--forge", "gitea", "--forge-api", api, "--forge-token", "FORGE")
        with Client(str(system.address)) as client:
            client.request(admin.SetSecret, m.Done, name="FORGE", value="forge-token")
        bad = system.command("schedule", "add", NAME, "0 25 * * *")
        assert (bad.status, len(bad.err.splitlines())) == (2, 1), bad.err
        assert "bad hour field" in bad.err
        ok("project", "notify", NAME, "add", f"{hook.url}/told", "--on", "always")
        arguments = ["--timezone", "Europe/Berlin", "--var", "K=v", "--description", "every night", "--json"]
        added = system.command("schedule", "add", NAME, "0 * * * *", *arguments).json
        assert len(added["next"]) == 3
        launcher(system)
        kill_both(system)
        with sqlite3.connect(system.folder / "state" / "longshore.db") as database:  # as if it had been down for hours
            database.execute("UPDATE schedule SET considered_until = considered_until - ?", [HOURS_DOWN * 3600])
        system.start_coordinator()
        eventually(lambda: listed()["last_status"] == "success")
        eventually(lambda: any("answered 503" in (each["error"] or "") for each in deliveries(system)))
        kill_both(system)
        forge.answer = (201, {}, b"{}")
        system.start_coordinator()
        eventually(lambda: all(each["state"] == "delivered" for each in deliveries(system)))
        with Client(str(system.address)) as client:
            (run,) = client.list_runs()
        assert run.counts == {"success": 1}
        assert forge.received[-1].json["state"] == "success"
        assert forge.received[-1].headers["authorization"] == "token forge-token"
        assert {each.json["run"] for each in hook.received} == {run.id}
        table = ok("project", "deliveries", NAME) + ok("schedule", "list") + ok("project", "notify", NAME, "list")
        assert "delivered" in table
        assert f"run {run.id} success" in table
        ok("schedule", "pause", str(added["id"]))
        assert listed()["next"] == []
        ok("schedule", "resume", str(added["id"]))
        ok("schedule", "run", str(added["id"]))
        eventually(lambda: listed()["last_run"] != run.id and listed()["last_status"] == "success")
        ok("schedule", "rm", str(added["id"]))
        ok("project", "notify", NAME, "rm", "1")
        assert system.command("schedule", "list", "--json").json == []


def deliveries(system: System) -> list[dict[str, str]]:
    return list(system.command("project", "deliveries", NAME, "--json").json)
