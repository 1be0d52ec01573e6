"""Many protocol-level workers in one process that run nothing: the coordinator load of a large fleet.

Their jobs take a given time and write a log line now and then. One machine can't host a thousand daemons; the
coordinator can't tell these workers from real ones.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections.abc import Callable
from uuid import uuid4

import zmq

from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import connect_socket
from protocol.statuses import ExecutionStatus as S

HEARTBEAT = 5.0
LINE = b"x" * 70 + b"\n"


class Crowd:
    """`count` workers of `slots` each. Jobs take `job_seconds` on average, 0.5 to 1.5 times that, so that the
    workers are out of step; None: jobs never end.

    `sent` maps (attempt, status) to the time its frame was sent (monotonic), for latency measurements.
    """

    def __init__(
        self, address: str, count: int, *, slots: int, job_seconds: float | None, line_every: float | None = None
    ) -> None:
        self.sent: dict[tuple[str, str], float] = {}
        self.running = 0
        self._job_seconds = job_seconds
        self._line_every = line_every
        self._random = random.Random(1)
        self._poller = zmq.Poller()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._workers: dict[zmq.Socket[bytes], _Worker] = {}
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        context.set(zmq.MAX_SOCKETS, 4096)
        for number in range(count):
            socket = connect_socket(context, zmq.DEALER, address)
            self._poller.register(socket, zmq.POLLIN)
            self._workers[socket] = _Worker(self, socket, f"crowd-{number}", slots)
        now = time.monotonic()
        for number, worker in enumerate(self._workers.values()):
            worker.hello()
            self.at(now + HEARTBEAT * number / count, worker.beat)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Calls `action` at this monotonic time."""
        heapq.heappush(self._due, (when, next(self._numbers), action))

    def work(self, seconds: float) -> None:
        """Polls sockets and timers once, for at most `seconds`."""
        now = time.monotonic()
        wait = min(seconds, max(0.0, self._due[0][0] - now)) if self._due else seconds
        for socket, _ in self._poller.poll(int(wait * 1000)):
            self._workers[socket].receive()
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()

    def close(self) -> None:
        """Disconnects all workers."""
        for socket in self._workers:
            socket.close()

    def begin(self, worker: _Worker, attempt: str) -> None:
        """Runs an attempt, from now until its time is up."""
        self.running += 1
        now = time.monotonic()
        if self._job_seconds is not None:
            self.at(now + self._job_seconds * self._random.uniform(0.5, 1.5), lambda: worker.end(attempt))
        if self._line_every is not None:
            self.at(now + self._line_every, lambda: self._line(worker, attempt))

    def _line(self, worker: _Worker, attempt: str) -> None:
        if worker.write(attempt) and self._line_every is not None:
            self.at(time.monotonic() + self._line_every, lambda: self._line(worker, attempt))


class _Worker:
    """One worker of the crowd."""

    def __init__(self, crowd: Crowd, socket: zmq.Socket[bytes], name: str, slots: int) -> None:
        self._crowd = crowd
        self._socket = socket
        self._name = name
        self._slots = slots
        self._logs: dict[str, int] = {}  # attempt -> bytes written

    def hello(self) -> None:
        self._send(m.Hello(protocol=PROTOCOL_VERSION, name=self._name, session=uuid4().hex, slots=self._slots))

    def beat(self) -> None:
        self._send(m.Heartbeat())
        self._crowd.at(time.monotonic() + HEARTBEAT, self.beat)

    def receive(self) -> None:
        while True:
            try:
                message, _ = decode_for_worker(self._socket.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            for one in each_of(message):
                if isinstance(one, m.AssignJob):
                    self._begin(one.assignment.attempt)

    def _begin(self, attempt: str) -> None:
        if attempt not in self._logs:
            self._logs[attempt] = 0
            self._report(attempt, 1, S.PREPARING)
            self._report(attempt, 2, S.RUNNING)
            self._crowd.begin(self, attempt)

    def write(self, attempt: str) -> bool:
        """Writes a log line. False: the attempt has ended."""
        offset = self._logs.get(attempt)
        if offset is None:
            return False
        self._logs[attempt] = offset + len(LINE)
        self._send(m.LogChunk(attempt=attempt, offset=offset), LINE)
        return True

    def end(self, attempt: str) -> None:
        self._crowd.running -= 1
        self._report(attempt, 3, S.SUCCESS, log_length=self._logs.pop(attempt))

    def _report(self, attempt: str, seq: int, status: S, log_length: int | None = None) -> None:
        self._crowd.sent[attempt, status.value] = time.monotonic()
        self._send(m.JobStatus(attempt=attempt, seq=seq, status=status, log_length=log_length))

    def _send(self, message: m.Message, payload: bytes | None = None) -> None:
        self._socket.send_multipart(encode(message, payload))
