"""Environments at a real coordinator: stopped on request, when their time is up, and after it was down meanwhile."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from protocol.client import Client
from protocol.errors import UsageError
from protocol.plan import EnvironmentSpec, Plan
from protocol.statuses import ENDED, EnvironmentStatus
from protocol.statuses import ExecutionStatus as S
from tests.support.clock import Clock, looks_at_deadlines
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan

HOUR = 3600.0


def review(**fields: Any) -> Plan:
    """A pipeline that deploys to `review`, with a manual job that stops it."""
    spec = EnvironmentSpec(name="review", slug="review", tier="development", on_stop="stop", **fields)
    stops = EnvironmentSpec(name="review", action="stop")
    return plan(job("deploy", environment=spec), job("stop", environment=stops, when="manual", allow_failure=True))


def deploy(running: Running, client: Client, what: Plan) -> tuple[int, WireWorker]:
    """Runs a pipeline to its end. Returns the run, and the worker that has done it."""
    worker = WireWorker(running.address)
    worker.hello()
    run = client.submit_run(what)
    worker.run()
    assert client.get_run(run).status is S.SUCCESS
    return run, worker


def status(client: Client) -> EnvironmentStatus:
    (environment,) = client.environments()
    return environment.status


def test_a_user_has_an_environment_stopped_by_the_job_of_a_run_that_has_ended(tmp_path: Path) -> None:
    with Running(tmp_path) as running, running.client() as client:
        run, worker = deploy(running, client, review(url="https://$CI_PIPELINE_ID.example.com"))
        (environment,) = client.environments()
        assert (environment.url, environment.deployment.run) == (f"https://{run}.example.com", run)
        assert client.environments("another") == []
        with pytest.raises(UsageError, match="no environment 'reviw' is deployed; there are review"):
            client.stop_environment("reviw")
        assert client.get_job(run, "deploy").environment == environment
        assert client.stop_environment("review") == 1
        assert status(client) is EnvironmentStatus.STOPPING
        with pytest.raises(UsageError, match="is being stopped already"):
            client.stop_environment("review")
        assert worker.run().job.name == "stop"
        assert status(client) is EnvironmentStatus.STOPPED
        shown = client.get_job(run, "deploy").environment
        assert shown is not None
        assert shown.status is EnvironmentStatus.STOPPED
        assert client.get_run(run).status is S.SUCCESS
        worker.close()


def test_it_is_stopped_when_its_time_is_up_also_if_that_was_while_the_coordinator_was_down(tmp_path: Path) -> None:
    clock = Clock(boot="the first")
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        run, worker = deploy(running, client, review(auto_stop_in=HOUR))
        worker.close()
        clock.wall += 2 * HOUR  # a clock that is set forward passes no time
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        seen = running.coordinator.engine.due_environments(clock())
        assert (status(client), seen) == (EnvironmentStatus.AVAILABLE, [])
    clock.mono += HOUR
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        eventually(lambda: status(client) is EnvironmentStatus.STOPPING)
        worker = WireWorker(running.address)
        worker.hello()
        assert worker.run().job.name == "stop"
        assert status(client) is EnvironmentStatus.STOPPED
        assert client.get_run(run).status in ENDED
        worker.close()


def test_a_coordinator_that_lives_only_for_a_reader_stops_none(tmp_path: Path) -> None:
    clock = Clock()
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        deploy(running, client, review(auto_stop_in=HOUR))[1].close()
    clock.wall += 2 * HOUR
    with Running(tmp_path, clock=clock, stops_environments=False) as running, running.client() as client:
        looked = looks_at_deadlines(running)
        eventually(lambda: looked() >= 2)
        assert status(client) is EnvironmentStatus.AVAILABLE


def test_one_whose_run_can_t_be_read_any_more_is_just_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        run, worker = deploy(running, client, review(auto_stop_in=HOUR))
        worker.close()
    with closing(sqlite3.connect(tmp_path / "longshore.db")) as database, database:
        database.execute("UPDATE run_plan SET plan_json = 'nonsense' WHERE run_id = ?", (run,))
    clock.wall += 2 * HOUR
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        eventually(lambda: status(client) is EnvironmentStatus.STOPPED)
        (environment,) = client.environments()
        assert environment.message == f"its time was up (auto_stop_in); run {run} has no job stop"
        assert f"run {run} can't be read" in caplog.text
