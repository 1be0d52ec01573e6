"""What the dashboard's tests are played on: a real coordinator on TCP, and a worker that does as it is told.

The worker speaks the real protocol over a real DEALER socket; only what a container would do comes from the test.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import connect_socket
from protocol.log_times import Mark, mark, within
from protocol.log_times import encode as encode_times
from protocol.plan import Plan
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import ArtifactRef, ExecutorInfo, JUnitSummary
from tests.support.coordinator_process import Running
from tests.support.eventually import DEADLINE, eventually

CHUNK = 512 << 10


class Server:
    """A coordinator on a thread, in a folder of its own; `stop` and `start` give it a new life at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = "tcp://127.0.0.1:0"
        self.start()

    def start(self) -> None:
        """Starts it and waits until it listens."""
        self._running = Running(self._folder / "state", bind=self.address)
        self.address = self._running.address

    def stop(self) -> None:
        """Ends it and waits for that."""
        self._running.close()

    def write_log(self, attempt: str, data: bytes) -> None:
        """Puts a long log into the store without sending it; for an attempt that has none."""
        path = Path(self._running.coordinator.logs.path(attempt))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def client(self) -> Client:
        """A client, to be closed by the caller."""
        return Client(self.address, timeout=DEADLINE)

    def submit(self, plan: Plan, **source: Any) -> int:
        """Starts a run and gives its id."""
        with self.client() as client:
            return client.submit_run(plan, source=m.Source(**source))


class ScriptedWorker:
    """A worker whose jobs begin, write and end when the test says so. Jobs are named by their plan's names.

    All methods may be called from the test's thread; a thread of its own talks to the coordinator.
    """

    def __init__(
        self, address: str, *, name: str = "w1", slots: int = 4, labels: tuple[str, ...] = (), engine: str = "Docker"
    ) -> None:
        self.name = name
        self._address = address
        self._hello = m.Hello(
            protocol=PROTOCOL_VERSION,
            name=name,
            session=f"{name}-{time.monotonic_ns()}",
            labels=list(labels),
            slots=slots,
            executor=ExecutorInfo(kind="docker", engine=engine),
        )
        self.assigned: dict[str, m.Assignment] = {}  # by job name, the newest
        self.canceled: set[str] = set()  # attempts
        self.drained: bool | None = None
        self._logs: dict[tuple[str, str], bytearray] = {}
        self._marks: dict[tuple[str, str], list[Mark]] = {}
        self._acked: dict[tuple[str, str], int] = {}
        self._seqs: dict[str, int] = {}
        self._held: dict[str, ExecutionStatus] = {}
        self._outbox: deque[list[bytes | memoryview]] = deque()
        self._stopping = threading.Event()
        self._welcomed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._welcomed.wait(DEADLINE)

    def stop(self) -> None:
        """Goes away without a word."""
        self._stopping.set()
        self._thread.join(DEADLINE)

    # what a test says

    def wait_for(self, job: str) -> m.Assignment:
        """Waits until a job is assigned."""
        eventually(lambda: job in self.assigned)
        return self.assigned[job]

    def begin(self, job: str) -> str:
        """Reports a job as running; gives its attempt."""
        attempt = self.wait_for(job).attempt
        self.report(attempt, ExecutionStatus.PREPARING)
        self.report(attempt, ExecutionStatus.RUNNING)
        return attempt

    def log(self, job: str, data: bytes, *, stream: str = "job", at: float | None = None, wait: bool = True) -> None:
        """Writes to a job's log, as read at this time, if any; waits until it is stored."""
        attempt = self.assigned[job].attempt
        key = (attempt, stream)
        log = self._logs.setdefault(key, bytearray())
        if at is not None:
            self._marks.setdefault(key, []).append(mark(len(log), at))
        log += data
        self._send_log(key, len(log) - len(data))
        if wait:
            eventually(lambda: self._acked.get(key, 0) >= len(log))

    def end(
        self,
        job: str,
        *,
        exit_code: int = 0,
        reason: FailureReason | None = None,
        message: str | None = None,
        artifacts: tuple[ArtifactRef, ...] = (),
        tests: JUnitSummary | None = None,
        reports: JobReports | None = None,
    ) -> None:
        """Ends a job: well, or with an exit code."""
        attempt = self.assigned[job].attempt
        failed = exit_code != 0
        self.report(
            attempt,
            ExecutionStatus.FAILED if failed else ExecutionStatus.SUCCESS,
            exit_code=exit_code,
            failure_reason=(reason or FailureReason.SCRIPT_FAILURE) if failed else None,
            message=message,
            log_length=len(self._logs.get((attempt, "job"), b"")),
            artifacts=list(artifacts),
            tests=tests,
            reports=reports,
        )

    def run(self, job: str, log: bytes = b"", **end: object) -> None:
        """A whole job."""
        self.begin(job)
        if log:
            self.log(job, log)
        self.end(job, **end)  # type: ignore[arg-type]

    def report(self, attempt: str, status: ExecutionStatus, **fields: object) -> None:
        """Sends a status."""
        self._seqs[attempt] = self._seqs.get(attempt, 0) + 1
        self._held[attempt] = status
        self._send(m.JobStatus(attempt=attempt, seq=self._seqs[attempt], status=status, **fields))  # type: ignore[arg-type]

    def _send_log(self, key: tuple[str, str], offset: int) -> None:
        log = self._logs[key]
        for start in range(offset, len(log), CHUNK):
            attempt, stream = key
            piece = bytes(log[start : start + CHUNK])
            times = encode_times(within(self._marks.get(key, []), start, start + len(piece)), start)
            self._send(m.LogChunk(attempt=attempt, offset=start, stream=stream, times=times), piece)

    def _send(self, message: m.Message, payload: bytes | None = None) -> None:
        self._outbox.append(encode(message, payload))

    # the worker's thread

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = connect_socket(context, zmq.DEALER, self._address)
        socket.send_multipart(encode(self._hello))
        heartbeat_at = time.monotonic() + 1
        while not self._stopping.is_set():
            while self._outbox:
                socket.send_multipart(self._outbox.popleft())
            if time.monotonic() > heartbeat_at:
                socket.send_multipart(encode(m.Heartbeat()))
                heartbeat_at = time.monotonic() + 1
            if socket.poll(5):
                for message in each_of(decode_for_worker(socket.recv_multipart())[0]):
                    self._take(message, socket)
        socket.close(linger=0)

    def _take(self, message: m.Message, socket: zmq.Socket[bytes]) -> None:
        match message:
            case m.Welcome(keep=kept):
                self._welcomed.set()
                for key in [key for key in self._logs if key[0] in kept]:
                    self._send_log(key, self._acked.get(key, 0))
            case m.AssignJob(assignment=assignment):
                self.assigned[assignment.job.name] = assignment
                if any(not dependency.satisfied for dependency in assignment.dependencies):
                    self.report(assignment.attempt, ExecutionStatus.WAITING)
            case m.CancelJob(attempt=attempt):
                self.canceled.add(attempt)
                length = len(self._logs.get((attempt, "job"), b""))
                self.report(attempt, ExecutionStatus.CANCELED, log_length=length)
            case m.Drain(on=on):
                self.drained = on
            case m.Ack(attempt=attempt, log_offset=offset, stream=stream) if offset is not None:
                self._acked[attempt, stream] = offset
            case m.Error(code="not_introduced"):
                held = [m.HeldAttempt(attempt=a, status=status) for a, status in self._held.items()]
                socket.send_multipart(encode(msgspec.structs.replace(self._hello, attempts=held)))
            case _:
                pass
