"""A coordinator that was cut off from PostgreSQL while another one took over stops: it writes and announces nothing.

Real processes, a real PostgreSQL, and a connection between them that is cut.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg
import pytest

from protocol import messages as m
from protocol.client import Client
from protocol.keys import Credentials, find_credentials
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import WorkerStatus
from tests.support.coordinator_process import WireWorker
from tests.support.eventually import DEADLINE, eventually
from tests.support.fake_coordinator import start_worker
from tests.support.fake_executor import FakeEngine
from tests.support.flaky_link import Cable
from tests.support.plans import job, plan
from tests.support.postgres import Cluster

COORDINATOR = (sys.executable, "-m", "cli", "coordinator", "--bind=tcp://127.0.0.1:0", "--database")


@dataclass
class Process:
    """`longshore coordinator` in a process of its own."""

    popen: subprocess.Popen[str]
    address: str
    log: Path

    def client(self) -> Client:
        return Client(self.address, timeout=DEADLINE)

    @property
    def credentials(self) -> Credentials:
        found = find_credentials(self.address)
        assert found is not None
        return found

    def stop(self) -> None:
        self.popen.terminate()
        assert self.popen.wait(DEADLINE) == 0

    def last_words(self) -> str:
        """What it says when it has ended by itself."""
        assert self.popen.wait(3 * DEADLINE) == 1
        return self.log.read_text()


class Site:
    """One database, the coordinators that want it, and a cable between it and some of them."""

    def __init__(self, folder: Path, postgres: Cluster) -> None:
        self.folder = folder
        self.direct = postgres.new_database()
        self.cable = Cable(f"tcp://127.0.0.1:{postgres.port}")
        self.by_cable = self.direct.replace(f":{postgres.port}/", f":{self.cable.address.rpartition(':')[2]}/")
        self.processes: list[Process] = []

    def start(self, name: str, database: str) -> Process:
        """A coordinator with a state directory of its own and the keys of all others, as on another host."""
        state = self.folder / name
        state.mkdir(mode=0o700)
        if self.processes:
            shutil.copytree(self.folder / "a" / "security", state / "security")
        log = self.folder / f"{name}.log"
        with log.open("w") as stderr:
            popen = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cli",
                    "coordinator",
                    "--bind=tcp://127.0.0.1:0",
                    "--database",
                    database,
                ],
                env={**os.environ, "LONGSHORE_STATE": str(state)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert popen.stdout is not None
        process = Process(popen, popen.stdout.readline().strip(), log)
        self.processes.append(process)
        assert process.address, log.read_text()
        return process

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.direct) as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.popen.wait()
        self.cable.close()


@pytest.fixture
def site(tmp_path: Path, postgres: Cluster) -> Iterator[Site]:
    made = Site(tmp_path, postgres)
    yield made
    made.close()


def running_job(process: Process) -> tuple[int, WireWorker, str]:
    """A run at a coordinator whose job runs at a worker."""
    worker = WireWorker(process.address)
    worker.hello()
    with process.client() as client:
        run = client.submit_run(plan(job("a")))
    attempt = worker.accept().attempt
    worker.status(attempt, 2, S.RUNNING)
    return run, worker, attempt


def is_told_of_nothing(worker: WireWorker) -> bool:
    """Whether a worker's connection to a coordinator that has ended brought it nothing."""
    while worker._socket.poll(0):
        worker.inbox += [message for message in worker._decode(worker._socket.recv_multipart())[:1] if message]
    return not [message for message in worker.inbox if isinstance(message, m.Ack | m.AssignJob | m.DiscardAttempt)]


def test_one_that_was_cut_off_while_another_came_and_went_does_not_write_over_it(site: Site) -> None:
    first = site.start("a", site.by_cable)
    run, worker, attempt = running_job(first)
    site.cable.cut()
    worker.send(m.JobStatus(attempt=attempt, seq=3, status=S.SUCCESS, exit_code=0, log_length=0))
    eventually(lambda: "accepting no new work" in first.log.read_text())
    second = site.start("b", site.direct)
    with second.client() as client:
        assert client.cancel(run) == 1
        assert client.get_run(run).status is S.CANCELED
    second.stop()
    rows = "SELECT * FROM run, attempt, meta ORDER BY meta.key"
    left_behind = site.query(rows)
    site.cable.mend()
    said = first.last_words()
    assert said.splitlines()[-1].startswith("longshore: the database postgresql://")
    assert f"taken over by another coordinator (process {second.popen.pid} on " in said
    assert "in term 2); this coordinator (term 1) stops" in said
    assert "Traceback" not in said
    assert site.query(rows) == left_behind
    assert is_told_of_nothing(worker)
    worker.close()


def test_one_that_was_suspended_meanwhile_answers_nobody_and_stops(site: Site) -> None:
    first = site.start("a", site.by_cable)
    run, worker, attempt = running_job(first)
    first.popen.send_signal(signal.SIGSTOP)
    worker.send(m.JobStatus(attempt=attempt, seq=3, status=S.SUCCESS, exit_code=0, log_length=0))
    worker.send(m.JobStatus(attempt="77.1", seq=1, status=S.RUNNING))  # of which it knows nothing: to be discarded
    site.cable.cut()
    site.cable.mend()
    second = site.start("b", site.direct)
    first.popen.send_signal(signal.SIGCONT)
    said = first.last_words()
    assert f"taken over by another coordinator (process {second.popen.pid} on " in said
    assert is_told_of_nothing(worker)
    with second.client() as client:
        assert client.get_run(run).status is S.RUNNING
        assert client.submit_run(plan(job("b"))) == run + 1
    worker.close()


def test_an_idle_one_learns_by_itself_that_it_was_replaced(site: Site) -> None:
    first = site.start("a", site.by_cable)
    site.cable.cut()
    second = site.start("b", site.direct)
    site.cable.mend()
    assert f"(process {second.popen.pid} on " in first.last_words()


def test_one_whose_database_went_back_to_a_backup_stops_too(site: Site) -> None:
    first = site.start("a", site.by_cable)
    site.cable.cut()
    with psycopg.connect(site.direct) as connection:
        connection.execute("UPDATE meta SET value = '1 another-nonce process 7 on elsewhere' WHERE key = 'term'")
    site.cable.mend()
    assert "was replaced or restored" in first.last_words()


def test_a_connection_that_broke_for_a_moment_is_no_takeover(site: Site) -> None:
    first = site.start("a", site.by_cable)
    run, worker, attempt = running_job(first)
    site.cable.cut()
    worker.send(m.JobStatus(attempt=attempt, seq=3, status=S.SUCCESS, exit_code=0, log_length=0))
    eventually(lambda: "accepting no new work" in first.log.read_text())
    site.cable.mend()
    worker.expect(m.Ack, lambda ack: ack.status_seq == 3)
    with first.client() as client:
        assert client.get_run(run).status is S.SUCCESS
    worker.close()
    first.stop()


def test_the_workers_of_one_that_stopped_go_on_at_the_one_that_serves(site: Site, tmp_path: Path) -> None:
    first = site.start("a", site.by_cable)
    road = Cable(first.address)
    engine = FakeEngine()
    worker = start_worker(road.address, tmp_path / "worker", engine, name="w1", credentials=first.credentials)
    with first.client() as client:
        eventually(lambda: [each.name for each in client.workers()] == ["w1"])
        waiting = [f"until [ -e {tmp_path}/go ]; do sleep 0.02; done"]
        run = client.submit_run(plan(msgspec.structs.replace(job("a"), script=waiting)))
        eventually(lambda: client.get_run(run).status is S.RUNNING)
    site.cable.cut()
    second = site.start("b", site.direct)
    site.cable.mend()
    first.last_words()
    road.lead_to(second.address)
    with second.client() as client:
        eventually(lambda: client.workers()[0].status is WorkerStatus.ONLINE)
        (tmp_path / "go").touch()
        eventually(lambda: client.get_run(run).status is S.SUCCESS)
        attempts = [each.attempt for stage in client.get_run(run).stages for each in stage.jobs]
        assert attempts == [1]
    worker.leave()
    road.close()
    engine.kill_all()
