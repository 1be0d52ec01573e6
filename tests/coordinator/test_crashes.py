"""SIGKILL of a real coordinator at every step of its turn: what was acknowledged is kept, nothing happens twice."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from coordinator.store.database import sqlite_url
from coordinator.store.store import Store
from protocol import PROTOCOL_VERSION, admin
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import connect_socket
from protocol.errors import CoordinatorUnreachable
from protocol.keys import Credentials, new_key_pair
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S
from tests.support.coordinator_process import Running, WireWorker
from tests.support.crashing_coordinator import POINTS, REVOKED, free_address, start
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan

RESEND_EVERY = 0.1
LOG = b"first line\nsecond line\nthird line\n"


@dataclass
class Attempt:
    """What the steadfast worker knows of one attempt."""

    number: int
    reports: list[m.JobStatus] = field(default_factory=list)
    acked_seq: int = 0
    acked_log: int = 0
    times_assigned: int = 0


class SteadfastWorker:
    """Runs every job it is given, and sends everything again until it is acknowledged, as the real daemon does."""

    def __init__(self, address: str) -> None:
        self.attempts: dict[str, Attempt] = {}
        self._socket = connect_socket(zmq.Context.instance(), zmq.DEALER, address)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        self._greet()
        heard = time.monotonic()
        while not self._stop.is_set():
            while self._socket.poll(20):
                heard = time.monotonic()
                for message in each_of(decode_for_worker(self._socket.recv_multipart())[0]):
                    self._take(message)
            if time.monotonic() - heard > RESEND_EVERY:
                heard = time.monotonic()
                self._send(m.Heartbeat())
                for id in self.attempts:
                    self._report(id)

    def _send(self, message: m.Message, payload: bytes | None = None) -> None:
        with contextlib.suppress(zmq.Again):
            self._socket.send_multipart(encode(message, payload), zmq.DONTWAIT)

    def _greet(self) -> None:
        held = [m.HeldAttempt(attempt=id, status=S.RUNNING) for id in self.attempts]
        self._send(m.Hello(protocol=PROTOCOL_VERSION, name="w1", session="s", slots=4, attempts=held))

    def _report(self, id: str) -> None:
        attempt = self.attempts[id]
        for report in attempt.reports[attempt.acked_seq :]:
            if report.status in ENDED:
                for offset in range(attempt.acked_log, len(LOG), 7):
                    self._send(m.LogChunk(attempt=id, offset=offset), LOG[offset : offset + 7])
            self._send(report)

    def _take(self, message: m.Message) -> None:
        match message:
            case m.Error(code="not_introduced"):
                self._greet()
            case m.AssignJob(assignment=assignment):
                id = assignment.attempt
                attempt = self.attempts.setdefault(id, Attempt(assignment.number))
                attempt.times_assigned += 1
                if not attempt.reports:
                    statuses = [S.PREPARING, S.RUNNING, S.SUCCESS]
                    attempt.reports = [m.JobStatus(attempt=id, seq=i, status=s) for i, s in enumerate(statuses, 1)]
                    attempt.reports[-1] = m.JobStatus(
                        attempt=id, seq=3, status=S.SUCCESS, exit_code=0, log_length=len(LOG)
                    )
                self._report(id)
            case m.Ack(attempt=id) if id in self.attempts:
                attempt = self.attempts[id]
                attempt.acked_seq = max(attempt.acked_seq, message.status_seq or 0)
                attempt.acked_log = max(attempt.acked_log, message.log_offset or 0)


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_coordinator_goes_on_where_it_was(tmp_path: Path, point: str, turns: int) -> None:
    address = free_address()
    process = start(tmp_path, address, point, str(turns))
    worker = SteadfastWorker(address)
    acked_log: dict[str, int] = {}
    acked_seq: dict[str, int] = {}
    submitted: list[int] = []

    def submit() -> None:
        with Client(address, timeout=30) as client:
            submitted.append(client.submit_run(plan(job("a"), job("b", needs=["a"])), token="the one"))

    submitter = threading.Thread(target=submit)
    submitter.start()
    try:
        assert process.wait(DEADLINE) == -signal.SIGKILL
        acked_log = {id: attempt.acked_log for id, attempt in worker.attempts.items()}
        acked_seq = {id: attempt.acked_seq for id, attempt in worker.attempts.items()}
        store = Store(sqlite_url(tmp_path / "longshore.db"))
        for run in store.load_unfinished()[0]:
            stored = {a.id: a for stage in run.stages for each in stage.jobs for a in each.attempts}
            for id, seq in acked_seq.items():
                assert stored[id].status_seq >= seq
        store.close()
        process = start(tmp_path, address)
        submitter.join(DEADLINE)
        (run_id,) = submitted
        with Client(address, timeout=DEADLINE) as client:
            view = eventually(lambda: client.get_run(run_id), so=lambda view: view.status in ENDED)
            assert view.status is S.SUCCESS
            assert [run.id for run in client.list_runs()] == [run_id]
            jobs = [each for stage in view.stages for each in stage.jobs]
            assert [each.attempt for each in jobs] == [1, 1]
            for each in jobs:
                assert client.get_log(run_id, each.name)[1] == LOG
                told = [line.text for line in client.get_job(run_id, each.name).story]
                assert sum("succeeded" in text for text in told) == 1
    finally:
        worker.close()
        process.kill()
        process.wait()
        submitter.join()
    assert set(acked_log) <= set(worker.attempts)
    assert len(worker.attempts) == 2


def test_what_a_worker_had_whose_key_was_revoked_just_before_a_crash_has_failed_after_it(tmp_path: Path) -> None:
    address = free_address()
    process = start(tmp_path, address, REVOKED, "0")
    with Client(address, timeout=DEADLINE) as client:
        token = client.request(admin.CreateToken, admin.TokenCreated, role="worker")
        credentials = Credentials(token.server, new_key_pair())
        with Client(address, timeout=DEADLINE, credentials=credentials) as joining:
            joining.enrol(token.secret, "w1")
        worker = WireWorker(address, credentials=credentials)
        worker.hello()
        run = client.submit_run(plan(job("a")))
        worker.status(worker.accept().attempt, 2, S.RUNNING)
        worker.close()
    with pytest.raises(CoordinatorUnreachable), Client(address, timeout=3) as client:
        client.request(admin.RevokeKey, m.Done, key="w1")
    assert process.wait(DEADLINE) == -signal.SIGKILL
    with Running(tmp_path) as running, running.client() as client:
        (view,) = client.get_run(run).stages[0].jobs
        assert (view.status, view.failure_reason) == (S.FAILED, FailureReason.RUNNER_SYSTEM_FAILURE)
        assert view.message == "the key of worker w1 was revoked"


def test_an_acknowledged_log_byte_is_on_the_disk(tmp_path: Path) -> None:
    address = free_address()
    process = start(tmp_path, address)
    worker = WireWorker(address)
    worker.hello()
    with Client(address, timeout=DEADLINE) as client:
        client.submit_run(plan(job("a")))
        attempt = worker.accept().attempt
        worker.status(attempt, 2, S.RUNNING)
        assert worker.log(attempt, 0, b"x" * 50_000) == 50_000
    process.kill()
    process.wait()
    with Running(tmp_path) as running, running.client() as client:
        assert client.get_log(1, "a")[1] == b"x" * 50_000
        assert client.get_run(1).status is S.RUNNING
    worker.close()


def test_a_restart_asks_everybody_to_say_hello_and_disturbs_no_job(tmp_path: Path) -> None:
    address = free_address()
    first = Running(tmp_path, bind=address)
    client = Client(address, timeout=DEADLINE)
    worker = WireWorker(address)
    before = worker.hello()
    run = client.submit_run(plan(job("a", "build"), job("b", "test")))
    attempt = worker.accept().attempt
    worker.status(attempt, 2, S.RUNNING)
    worker.log(attempt, 0, b"before ")
    first.close()
    with Running(tmp_path, bind=address):
        assert client.get_run(run).status is S.RUNNING
        worker.send(m.Heartbeat())
        assert worker.expect(m.Error).code == "not_introduced"
        after = worker.hello(attempts=[m.HeldAttempt(attempt=attempt, status=S.RUNNING)])
        assert (after.coordinator, after.keep) == (before.coordinator, [attempt])
        assert after.epoch != before.epoch
        assert worker.log(attempt, 7, b"and after") == 16
        worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=16)
        worker.run()
        assert client.get_run(run).status is S.SUCCESS
        assert client.get_log(run, "a")[1] == b"before and after"
        client.close()
        worker.close()


def test_a_thousand_unfinished_jobs_are_taken_up_in_less_than_two_seconds_of_cpu_time(tmp_path: Path) -> None:
    with Running(tmp_path) as running, running.client() as client:
        for _ in range(10):
            client.submit_run(plan(*(job(f"job {i}", needs=[]) for i in range(100))))
    begun = time.process_time()
    with Running(tmp_path) as running, running.client() as client:
        assert sum(run.counts["pending"] for run in client.list_runs()) == 1000
        assert time.process_time() - begun < 2
