"""A coordinator that can't write keeps what it has, says so, begins nothing new, and goes on by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.engine.effects import Turn
from coordinator.server import Coordinator
from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.statuses import ExecutionStatus as S
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan
from tests.support.postgres import Cluster


class Unwritable(Coordinator):
    """Can't write while `broken`; with `only_runs`, only turns that change a run can't be written."""

    broken = only_runs = False

    def write_rows(self, turn: Turn) -> None:
        if self.broken and (turn.runs or not self.only_runs):
            raise OSError(28, "No space left on device")
        super().write_rows(turn)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path, kind=Unwritable) as running:
        yield running


@pytest.fixture
def worker(running: Running) -> Iterator[WireWorker]:
    made = WireWorker(running.address)
    made.hello()
    yield made
    made.close()


def unwritable(running: Running) -> Unwritable:
    """Its coordinator."""
    assert isinstance(running.coordinator, Unwritable)
    return running.coordinator


def stall(running: Running) -> None:
    """Lets the next turn fail, and waits until one has."""
    unwritable(running).broken = True
    eventually(lambda: running.coordinator._stall is not None)


def test_nothing_is_acknowledged_before_it_is_written(running: Running, worker: WireWorker) -> None:
    with running.client() as client:
        run = client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        worker.status(attempt, 2, S.RUNNING)
        stall(running)
        worker.send(m.LogChunk(attempt=attempt, offset=0), b"hello")
        worker.send(m.JobStatus(attempt=attempt, seq=3, status=S.SUCCESS, exit_code=0, log_length=5))
        worker.send(m.GetJobStatus(id=1, attempt=attempt))
        assert worker.expect(m.Error).code == "unavailable"
        assert not any(isinstance(message, m.Ack) for message in worker.inbox)
        assert client.get_run(run).status is S.RUNNING
        unwritable(running).broken = False
        eventually(lambda: running.coordinator._stall is None)
        assert worker.log(attempt, 0, b"hello") == 5
        worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=5)
        assert client.get_run(run).status is S.SUCCESS


def test_new_work_is_refused_with_the_reason_and_readers_are_served(running: Running, worker: WireWorker) -> None:
    with running.client() as client:
        run = client.submit_run(plan(job("a")))
        stall(running)
        with pytest.raises(LongshoreError, match=r"disk .*No space left on device.*no new work"):
            client.submit_run(plan(job("b")))
        with pytest.raises(LongshoreError, match="no new work"):
            client.cancel(run)
        assert [each.id for each in client.list_runs()] == [run]
        with running.client() as another:
            assert another.get_run(run).status is S.PENDING
        unwritable(running).broken = False
        eventually(lambda: running.coordinator._stall is None)
        assert client.submit_run(plan(job("b"))) == run + 1


def test_what_was_being_written_is_answered_once_it_is(running: Running) -> None:
    unwritable(running).only_runs = unwritable(running).broken = True
    with running.client() as client:
        request = m.SubmitRun(id=50, token="the one", plan=plan(job("a")))
        other = WireWorker(running.address)
        other.send(m.ClientHello(id=1, protocol=1))
        other.expect(m.Welcome)
        other.send(request)
        eventually(lambda: running.coordinator._stall is not None)
        other.send(request)  # a resend while it stalls is neither refused nor answered early
        other.send(m.Cancel(id=51, run=1))
        assert other.expect(m.Error).id == 51
        assert client.list_runs() == []
        unwritable(running).broken = False
        eventually(lambda: client.list_runs() != [])
        assert [run.id for run in client.list_runs()] == [1]
    other.close()


def test_a_worker_that_comes_during_a_stall_is_welcomed_after_it(running: Running) -> None:
    stall_worker = WireWorker(running.address, "first")
    unwritable(running).broken = True
    stall_worker.send(m.Hello(protocol=1, name="first", session="s"))
    eventually(lambda: running.coordinator._stall is not None)
    late = WireWorker(running.address, "late")
    late.send(m.Hello(protocol=1, name="late", session="s"))
    with running.client() as client:
        assert client.list_runs() == []
        unwritable(running).broken = False
        stall_worker.expect(m.Welcome)
        late.expect(m.Welcome)
        assert [worker.name for worker in client.workers()] == ["first", "late"]
    stall_worker.close()
    late.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_loses_nothing_and_needs_nobody_when_there_is_room_again(small_disk: Path) -> None:
    with Running(small_disk / "state") as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        run = client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        worker.status(attempt, 2, S.RUNNING)
        log = os.urandom(700_000)
        assert worker.log(attempt, 0, log[:100_000]) == 100_000
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(free - 200_000))
        worker.send(m.LogChunk(attempt=attempt, offset=100_000), log[100_000:])
        eventually(lambda: running.coordinator._stall is not None)
        with pytest.raises(LongshoreError, match="No space left on device"):
            client.submit_run(plan(job("b")))
        assert client.get_log(run, "a", length=1 << 20)[0].size < len(log)
        ballast.unlink()
        eventually(lambda: running.coordinator._stall is None)
        worker.expect(m.Ack, lambda ack: ack.log_offset == len(log))
        worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=len(log))
        assert client.get_run(run).status is S.SUCCESS
        assert client.get_log(run, "a", length=1 << 20)[1] == log
        worker.close()


def test_an_upload_to_a_full_disk_is_told_so(small_disk: Path, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(6 << 20))
    with Running(small_disk / "state") as running, running.client() as client:
        with pytest.raises(LongshoreError, match="No space left on device"):
            client.upload(file)
        assert client.list_runs() == []


def test_a_postgres_that_goes_away_and_comes_back_is_only_a_stall(postgres: Cluster, tmp_path: Path) -> None:
    with Running(tmp_path, database=postgres.new_database()) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        run = client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        postgres.stop()
        try:
            worker.send(m.JobStatus(attempt=attempt, seq=2, status=S.RUNNING))
            eventually(lambda: running.coordinator._stall is not None)
            with pytest.raises(LongshoreError, match="database"):
                client.list_runs()
        finally:
            postgres.start()
        worker.expect(m.Ack, lambda ack: ack.status_seq == 2)
        assert client.get_run(run).status is S.RUNNING
        worker.close()
