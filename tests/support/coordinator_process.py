"""A real coordinator in a thread, and a scripted worker that speaks to it over TCP. For the coordinator's tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import zmq

from coordinator.engine.settings import Settings
from coordinator.engine.state import Now
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import connect_socket
from protocol.keys import Credentials
from protocol.log_times import encode as encode_times
from protocol.log_times import mark
from protocol.statuses import ExecutionStatus as S
from tests.support.eventually import DEADLINE

M = TypeVar("M", bound=m.Message)


class Running:
    """A coordinator that runs in a thread of this process until it is closed, on a free port."""

    def __init__(
        self,
        state: Path,
        *,
        kind: type[Coordinator] = Coordinator,
        engine: Settings | None = None,
        clock: Callable[[], Now] | None = None,
        **settings: Any,
    ) -> None:
        settings.setdefault("bind", "tcp://127.0.0.1:0")
        extra: dict[str, Any] = {"clock": clock} if clock else {}
        self.coordinator = kind(CoordinatorSettings(state=state, engine=engine or Settings(), **settings), **extra)
        self.coordinator.start()
        self.address = self.coordinator.address
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="coordinator")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.coordinator.run()
        except BaseException as error:
            self._failure = error

    @property
    def alive(self) -> bool:
        """Whether its loop goes on."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stops it; what went wrong in its thread is raised here."""
        self.coordinator.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self, **options: Any) -> Client:
        """A client of it."""
        return Client(self.address, **options)


class WireWorker:
    """A worker's socket, driven by hand (or, with `decode_for_client`, a client's). `inbox` is not waited for yet."""

    def __init__(
        self,
        address: str,
        name: str = "w1",
        *,
        decode: Any = decode_for_worker,
        credentials: Credentials | None = None,
        **hello: Any,
    ) -> None:
        self.name = name
        self._decode = decode
        self.inbox: list[m.Message] = []
        self._socket = connect_socket(zmq.Context.instance(), zmq.DEALER, address, credentials=credentials)
        self._hello = hello

    def close(self) -> None:
        """Goes away without a word."""
        self._socket.close()

    def send(self, message: m.Message, payload: bytes | None = None) -> None:
        """Sends one message."""
        self._socket.send_multipart(encode(message, payload))

    def send_raw(self, *frames: bytes) -> None:
        """Sends whatever it is told to."""
        self._socket.send_multipart(list(frames))

    def expect(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of a kind, past others."""
        deadline = time.monotonic() + DEADLINE
        while True:
            for i, message in enumerate(self.inbox):
                if isinstance(message, kind) and where(message):
                    del self.inbox[i]
                    return message
            left = deadline - time.monotonic()
            came = left > 0 and self._socket.poll(int(left * 1000))
            assert came, f"no {kind.__name__} came, but {self.inbox}"
            self.inbox += each_of(self._decode(self._socket.recv_multipart())[0])

    def settle(self, number: int = 999_999) -> list[m.Message]:
        """All that the coordinator had to say to what was sent so far."""
        self.send(m.GetJobStatus(id=number, attempt="0.0"))
        self.expect(m.JobStatusReply, lambda reply: reply.id == number)
        told, self.inbox = self.inbox, []
        return told

    def hello(self, **changes: Any) -> m.Welcome:
        """Introduces itself."""
        fields = {"slots": 4, **self._hello, **changes}
        self.send(m.Hello(protocol=PROTOCOL_VERSION, name=self.name, session="s", **fields))
        return self.expect(m.Welcome)

    def accept(self) -> m.Assignment:
        """Waits for a job and takes it."""
        assignment = self.expect(m.AssignJob).assignment
        self.status(assignment.attempt, 1, S.PREPARING)
        return assignment

    def status(self, attempt: str, seq: int, status: S, **fields: Any) -> None:
        """Reports a status and waits for its acknowledgement."""
        self.send(m.JobStatus(attempt=attempt, seq=seq, status=status, **fields))
        self.expect(m.Ack, lambda ack: ack.attempt == attempt and ack.status_seq == seq)

    def log(self, attempt: str, offset: int, data: bytes, stream: str = "job") -> int:
        """Sends log bytes with their times; returns how many the coordinator says are stored."""
        times = encode_times([mark(offset, time.time())], offset) if data else b""
        self.send(m.LogChunk(attempt=attempt, offset=offset, stream=stream, times=times), data)
        ack = self.expect(m.Ack, lambda ack: ack.attempt == attempt and ack.log_offset is not None)
        assert ack.log_offset is not None
        return ack.log_offset

    def run(self, log: bytes = b"hello\n", **result: Any) -> m.Assignment:
        """Takes a job and runs it to its end."""
        assignment = self.accept()
        self.status(assignment.attempt, 2, S.RUNNING)
        if log:
            assert self.log(assignment.attempt, 0, log) == len(log)
        fields = {"status": S.SUCCESS, "exit_code": 0, "log_length": len(log), **result}
        self.status(assignment.attempt, 3, **fields)
        return assignment
