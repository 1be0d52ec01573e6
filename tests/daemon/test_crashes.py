"""Coordinator and daemon are both killed, at every step of a turn: each job ends once, and its log is whole.

The real daemon, on the fake engine; the coordinator is a process of its own that kills itself at a chosen point.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.upstream.connection import Connection
from protocol.client import Client
from protocol.keys import Credentials, find_credentials
from protocol.plan import JobPlan
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import RunView
from tests.support.crashing_coordinator import POINTS, free_address, start
from tests.support.eventually import DEADLINE, eventually
from tests.support.fake_coordinator import RunningWorker, start_worker
from tests.support.fake_executor import FakeEngine
from tests.support.plans import job, plan
from tests.support.views import jobs_of_run

SLOW, LARGE = b"".join(b"line %d\n" % number for number in range(6)), 300_000
JOBS = [
    job(
        "slow", needs=[], script="for i in 0 1 2 3 4 5; do echo line $i; sleep 0.03; done"
    ),  # small pieces, which go into the journal
    job("large", needs=["slow"], script=f"head -c {LARGE} /dev/zero"),  # large ones, which do not
    job("beside", needs=[], script="echo beside"),
]
LOGS = {"slow": SLOW, "large": bytes(LARGE), "beside": b"beside\n"}


def submit(address: str, jobs: list[JobPlan], runs: list[int]) -> None:
    """As a user does, who does not notice that the coordinator is killed meanwhile."""
    with Client(address, timeout=DEADLINE) as client:
        runs.append(client.submit_run(plan(*jobs)))


def ended(client: Client, run: int) -> RunView:
    """The run, once it has ended."""
    return eventually(lambda: client.get_run(run), so=lambda view: view.status in ENDED)


@pytest.mark.parametrize(
    ("daemon", "turns", "points"),
    [
        ("is back before", 4, POINTS[1:4]),
        *(
            pytest.param(daemon, turns, POINTS, marks=[pytest.mark.long, pytest.mark.timeout(120)])
            for daemon in ("lives", "is back before", "is back after")
            for turns in range(1, 8)
        ),
    ],
)
def test_each_job_ends_once_and_its_log_is_whole_wherever_the_coordinator_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: str, turns: int, points: tuple[str, ...]
) -> None:
    """Whether the daemon lives, or is killed with it and is back before or after it."""
    monkeypatch.setattr(Connection, "say_goodbye", lambda link, goodbye: None)
    address, engine = free_address(), FakeEngine()
    process = start(tmp_path / "coordinator", address)
    credentials = find_credentials(address)
    worker = start_daemon(tmp_path, address, engine, credentials)
    try:
        for point in points:
            process.kill()
            process.wait()
            process = start(tmp_path / "coordinator", address, point, str(turns))
            runs: list[int] = []
            submitter = threading.Thread(target=submit, args=(address, JOBS, runs))
            submitter.start()
            process.wait(DEADLINE)
            if daemon != "lives":
                worker.leave()
            if daemon == "is back before":
                worker = start_daemon(tmp_path, address, engine, credentials)
            process = start(tmp_path / "coordinator", address)
            if daemon == "is back after":
                worker = start_daemon(tmp_path, address, engine, credentials)
            submitter.join(DEADLINE)
            with Client(address, timeout=DEADLINE) as client:
                view = ended(client, runs[0])
                assert view.status is ExecutionStatus.SUCCESS, (point, jobs_of_run(view))
                assert [one.attempt for one in jobs_of_run(view)] == [1, 1, 1]
                assert {one.name: client.get_log(view.id, one.name)[1] for one in jobs_of_run(view)} == LOGS, point
        eventually(lambda: list(engine.boxes), so=lambda left: left == [])
    finally:
        worker.leave()
        process.kill()
        process.wait()
        engine.kill_all()


def start_daemon(folder: Path, address: str, engine: FakeEngine, credentials: Credentials | None) -> RunningWorker:
    """The next life of the daemon."""
    return start_worker(address, folder / "w", engine, slots=3, ack_timeout=0.5, credentials=credentials)
