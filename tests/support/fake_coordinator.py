"""A coordinator played by a test: a real ROUTER on TCP that answers as it is told and remembers all that it hears."""

from __future__ import annotations

import hashlib
import itertools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import zmq

from daemon.attempts.observation import Metrics, Traces
from daemon.executors.base import Executor
from daemon.settings import WorkerSettings
from daemon.worker import Worker
from protocol import messages as m
from protocol.codec import decode_for_coordinator, encode
from protocol.statuses import ENDED, ExecutionStatus
from tests.support.eventually import DEADLINE
from tests.support.fake_executor import FakeEngine, FakeExecutor

M = TypeVar("M", bound=m.Message)


class FakeCoordinator:
    """Serves from a thread of its own. Set the flags to misbehave; `expect` waits for a message of a worker."""

    def __init__(self, address: str = "tcp://127.0.0.1:*") -> None:
        self.heartbeat = 5.0
        self.acknowledging = True  # statuses and log bytes are acknowledged
        self.answering = True  # anything at all is answered
        self.keep: Callable[[m.Hello], list[str]] = lambda hello: [held.attempt for held in hello.attempts]
        self.log_limit_stored: int | None = None  # acknowledge no more than so many log bytes
        self.heard: list[m.Message] = []
        self.status_frames = 0  # in which statuses came, one or more
        self.logs: dict[tuple[str, str], bytearray] = {}
        self.finals: dict[str, m.JobStatus] = {}
        self.statuses: dict[str, list[ExecutionStatus]] = {}
        self.seqs: dict[str, int] = {}
        self.assignments: dict[str, m.Assignment] = {}
        self.dependencies: dict[str, list[m.Dependency]] = {}
        self.unwanted: set[str] = set()
        self.gone_workers: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.partial: dict[str, bytearray] = {}
        self.drop_puts = 0
        self.refuse: set[type[m.Message]] = set()  # the next question of each kind is answered with an error
        self.epoch = "1"
        self._known: set[bytes] = set()
        self._route: bytes | None = None
        self._changed = threading.Condition()
        self._outgoing: list[list[bytes | memoryview]] = []
        self._context = zmq.Context()
        self._address = address
        self._running = True
        self._cursor = 0
        self._bind()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bind(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self._socket.bind(self._address)
                break
            except zmq.ZMQError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._address = self.address = self._socket.get_string(zmq.LAST_ENDPOINT)

    def __enter__(self) -> FakeCoordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()
        self._context.term()

    def down(self) -> None:
        """The coordinator dies; what it has stored stays."""
        self._running = False
        self._thread.join()
        self._socket.close()

    def up(self) -> None:
        """It is back, at the same address, with a new epoch."""
        self.epoch += "1"
        self._known.clear()
        self._route = None
        self._running = True
        self._bind()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    # what tests say and wait for

    def send(self, message: m.Message, payload: bytes | None = None) -> None:
        """Sends to the worker that spoke last (it must have said hello)."""
        self.wait_for(lambda: self._route is not None, "a worker")
        with self._changed:
            self._outgoing.append(encode(message, payload))

    def send_raw(self, *frames: bytes) -> None:
        """Sends frames that are no message."""
        self.wait_for(lambda: self._route is not None, "a worker")
        with self._changed:
            self._outgoing.append(list(frames))

    def assign(self, wanted: m.Assignment) -> None:
        """Hands an attempt to the worker."""
        self.assignments[wanted.attempt] = wanted
        self.dependencies[wanted.attempt] = list(wanted.dependencies)
        self.send(m.AssignJob(assignment=wanted))

    def satisfy(self, attempt: str, job: str, **fields: object) -> None:
        """A dependency has ended well."""
        dependency = m.Dependency(job=job, status=ExecutionStatus.SUCCESS, satisfied=True, **fields)  # type: ignore[arg-type]
        self.dependencies[attempt] = [dependency if d.job == job else d for d in self.dependencies[attempt]]
        self.send(m.DependencyUpdate(attempt=attempt, dependency=dependency))

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = DEADLINE) -> None:
        """Waits for something that messages bring about. Raises AssertionError with all that was heard."""
        with self._changed:
            done = self._changed.wait_for(condition, timeout)
        assert done, f"{what} did not come in {timeout} s; heard: {self.heard[-30:]}"

    def expect(self, kind: type[M], where: Callable[[M], bool] = lambda _: True, timeout: float = DEADLINE) -> M:
        """The next message of a kind, after those that were expected before."""
        found: list[M] = []

        def look() -> bool:
            for number in itertools.count(self._cursor):
                if number >= len(self.heard):
                    return False
                message = self.heard[number]
                if isinstance(message, kind) and where(message):
                    found.append(message)
                    self._cursor = number + 1
                    return True
            return False

        self.wait_for(look, kind.__name__, timeout)
        return found[0]

    def status(self, attempt: str, status: ExecutionStatus, timeout: float = DEADLINE) -> None:
        """Waits until an attempt has been reported in a status."""
        self.wait_for(lambda: status in self.statuses.get(attempt, ()), f"{attempt} {status}", timeout)

    def final(self, attempt: str, timeout: float = DEADLINE) -> m.JobStatus:
        """Waits for an attempt's end."""
        self.wait_for(lambda: attempt in self.finals, f"the end of {attempt}", timeout)
        return self.finals[attempt]

    def log(self, attempt: str, stream: str = "job") -> bytes:
        """What is stored of a log."""
        return bytes(self.logs.get((attempt, stream), b""))

    def count(self, kind: type[m.Message]) -> int:
        """How many of a kind were heard."""
        return sum(isinstance(message, kind) for message in self.heard)

    # the thread

    def _serve(self) -> None:
        while self._running:
            with self._changed:
                outgoing, self._outgoing = self._outgoing, []
            for frames in outgoing:
                assert self._route is not None
                self._socket.send_multipart([self._route, *frames])
            if not self._socket.poll(5):
                continue
            route, *received = self._socket.recv_multipart()
            message, payload = decode_for_coordinator(received)
            with self._changed:
                self.status_frames += isinstance(message, m.JobStatus | m.JobStatuses)
                for one in message.statuses if isinstance(message, m.JobStatuses) else [message]:
                    self.heard.append(one)
                    if self.answering:
                        self._handle(route, one, bytes(payload))
                self._changed.notify_all()

    def _reply(self, route: bytes, message: m.Message, payload: bytes | None = None) -> None:
        self._socket.send_multipart([route, *encode(message, payload)])

    def _handle(self, route: bytes, message: m.Message, payload: bytes) -> None:
        if isinstance(message, m.Hello):
            self._known.add(route)
            self._route = route
            welcome = m.Welcome(
                protocol=1, coordinator="c" * 32, epoch=self.epoch, feed="", heartbeat=self.heartbeat,
                session=message.session, keep=self.keep(message),
            )  # fmt: skip
            self._reply(route, welcome)
        elif route not in self._known:
            id = getattr(message, "id", None)
            self._reply(route, m.Error(id=id, code="not_introduced", message="say hello first"))
        elif type(message) in self.refuse:
            self.refuse.discard(type(message))
            self._reply(route, m.Error(id=getattr(message, "id", None), code="internal", message="a mistake"))
        elif isinstance(message, m.LogChunk):
            self._log_chunk(route, message, payload)
        elif isinstance(message, m.JobStatus):
            self._job_status(route, message)
        elif isinstance(message, m.GetJobExecution):
            self._reply(route, m.JobExecution(id=message.id, assignment=self.assignments.get(message.attempt)))
        elif isinstance(message, m.GetJobDependencies):
            dependencies = self.dependencies.get(message.attempt, [])
            self._reply(route, m.JobDependencies(id=message.id, attempt=message.attempt, dependencies=dependencies))
        elif isinstance(message, m.GetJobStatus):
            statuses = self.statuses.get(message.attempt)
            reply = m.JobStatusReply(
                id=message.id,
                attempt=message.attempt,
                wanted=message.attempt not in self.unwanted and message.attempt not in self.finals,
                status=statuses[-1] if statuses else None,
                log_offset=len(self.logs.get((message.attempt, "job"), b"")),
                status_seq=self.seqs.get(message.attempt, 0),
            )
            self._reply(route, reply)
        elif isinstance(message, m.GetGoneWorkers):
            gone = [worker for worker in message.workers if worker in self.gone_workers]
            self._reply(route, m.GoneWorkers(id=message.id, workers=gone))
        elif isinstance(message, m.BlobGet):
            self._blob_get(route, message)
        elif isinstance(message, m.BlobPut):
            self._blob_put(route, message, payload)

    def _log_chunk(self, route: bytes, chunk: m.LogChunk, payload: bytes) -> None:
        if not self.acknowledging:
            return
        stored = self.logs.setdefault((chunk.attempt, chunk.stream), bytearray())
        if chunk.offset <= len(stored) < chunk.offset + len(payload):
            stored += payload[len(stored) - chunk.offset :]
        self._reply(route, m.Ack(attempt=chunk.attempt, stream=chunk.stream, log_offset=len(stored)))

    def _job_status(self, route: bytes, message: m.JobStatus) -> None:
        if not self.acknowledging:
            return
        if message.status in ENDED:
            stored = len(self.logs.get((message.attempt, "job"), b""))
            if (message.log_length or 0) > stored:
                self._reply(route, m.Ack(attempt=message.attempt, log_offset=stored))
                return
            self.finals.setdefault(message.attempt, message)
        if message.seq > self.seqs.get(message.attempt, 0):
            self.seqs[message.attempt] = message.seq
            self.statuses.setdefault(message.attempt, []).append(message.status)
        self._reply(route, m.Ack(attempt=message.attempt, status_seq=message.seq))

    def _blob_get(self, route: bytes, message: m.BlobGet) -> None:
        blob = self.blobs.get(message.digest)
        if blob is None:
            self._reply(route, m.Error(id=message.id, code="not_found", message=f"no blob {message.digest}"))
            return
        piece = blob[message.offset : message.offset + message.length]
        self._reply(
            route, m.BlobData(id=message.id, digest=message.digest, offset=message.offset, size=len(blob)), piece
        )

    def _blob_put(self, route: bytes, message: m.BlobPut, payload: bytes) -> None:
        if self.drop_puts and payload:
            self.drop_puts -= 1
            payload = b""
        have = self.partial.setdefault(message.digest, bytearray(self.blobs.get(message.digest, b"")))
        if message.offset == len(have):
            have += payload
        complete = len(have) == message.size and hashlib.sha256(have).hexdigest() == message.digest
        if complete:
            self.blobs[message.digest] = bytes(have)
        state = m.BlobState(id=message.id, digest=message.digest, received=len(have), complete=complete)
        self._reply(route, state)


class RunningWorker:
    """A worker that runs in a thread, and what it left behind."""

    def __init__(self, worker: Worker, engine: FakeEngine) -> None:
        self.worker = worker
        self.engine = engine
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # the test looks at it
            self.error = error
            logging.getLogger(__name__).warning("the worker has ended: %s", error)

    def join(self, timeout: float = DEADLINE) -> None:
        """Waits for the worker's end. Raises AssertionError if it does not come."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the worker did not end"

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def leave(self) -> None:
        """Stops it abruptly, as a second SIGTERM does."""
        self.worker.stop()
        self.worker.stop()
        self.join()


def start_worker(
    address: str,
    state: Path,
    engine: FakeEngine,
    executor: Executor | None = None,
    *,
    metrics: Metrics | None = None,
    traces: Traces | None = None,
    **settings: object,
) -> RunningWorker:
    """A real worker on the fake engine."""
    chosen = {"name": "w1", "slots": 2, "disk_floor": 0, **settings}
    worker = Worker(
        WorkerSettings(coordinator=address, state_dir=state, **chosen),  # type: ignore[arg-type]
        executor or FakeExecutor(engine),
        metrics=metrics,
        traces=traces,
    )
    return RunningWorker(worker, engine)
