"""A client's requests to a coordinator and their answers, over one blocking socket.

Requests have an id and a deadline. An unanswered request is resent, which is safe for every request of the protocol
(see SubmitRun.token), so a coordinator's restart goes unnoticed. One thread per session.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Container
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq

from protocol import PROTOCOL_VERSION, admin
from protocol import messages as m
from protocol.codec import decode_for_client, encode
from protocol.dealer import Dealer
from protocol.errors import CoordinatorUnreachable, LongshoreError, NotLetIn, ProtocolError, UsageError
from protocol.keys import Credentials
from protocol.replies import expected, refusal

RESEND_AFTER = 2.0
"""Seconds without an answer after which a request is resent."""
LET_IN_PAUSE = 0.3
"""Seconds within which a starting coordinator publishes its credentials."""

R = TypeVar("R", bound=m.Message)


class ClientSession:
    """A session with the coordinator at `address`; `timeout` is the total time for a request, in seconds.

    Raises CoordinatorUnreachable if the coordinator does not answer, UsageError for errors caused by the caller,
    LongshoreError for requests that it can't serve now.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 10.0,
        name: str = "",
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.name = name
        self._context = context or zmq.Context.instance()
        self._given = credentials
        self._open()
        self._ids = itertools.count(1)
        self._welcome: m.Welcome | None = None

    def _open(self) -> None:
        self._dealer = Dealer(self._context, self.address, self._given)
        self._socket = self._dealer.socket
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._dealer.monitor, zmq.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; unanswered requests are dropped."""
        self._dealer.close()

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The connection, for an owner that goes on with it by itself."""
        return self._socket

    @property
    def welcome(self) -> m.Welcome:
        """The coordinator's welcome on first contact."""
        if self._welcome is None:
            self._introduce(time.monotonic() + self.timeout)
        assert self._welcome is not None
        return self._welcome

    def _introduce(self, deadline: float) -> None:
        request = m.ClientHello(id=next(self._ids), protocol=PROTOCOL_VERSION, name=self.name)
        reply, _ = self._exchange(request, None, deadline)
        if not isinstance(reply, m.Welcome):
            raise LongshoreError(f"{self.address} answered a hello with {type(reply).__name__}")
        self._welcome = reply

    def _exchange(
        self, request: m.Message, payload: bytes | memoryview | None, deadline: float
    ) -> tuple[m.Message, bytes | memoryview]:
        frames = encode(request, payload)
        id, greets = getattr(request, "id", None), isinstance(request, m.ClientHello)
        while True:
            sent = self._send(frames, deadline)
            resend_at = min(deadline, time.monotonic() + RESEND_AFTER)
            while sent and (left := resend_at - time.monotonic()) > 0:
                if not self._await(zmq.POLLIN, left):
                    break
                reply, data = decode_for_client(self._socket.recv_multipart())
                if isinstance(reply, m.Welcome) if greets else getattr(reply, "id", None) == id:
                    return reply, data
                if greets and isinstance(reply, m.Error) and reply.id in (None, id):  # not to an earlier request
                    return reply, data
            if time.monotonic() >= deadline:
                raise CoordinatorUnreachable(
                    f"no coordinator answers at {self.address}; is `longshore coordinator` (or `longshore up`) running "
                    "there?"
                )

    def _send(self, frames: list[bytes | memoryview], deadline: float) -> bool:
        """Sends frames. Returns False if the coordinator did not take them by the deadline. Raises NotLetIn."""
        while True:
            try:
                self._socket.send_multipart(frames, zmq.DONTWAIT)
                return True
            except zmq.Again:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._await(zmq.POLLOUT, left)

    def _await(self, event: int, seconds: float) -> bool:
        """Waits until the socket is readable or writable; False after a timeout. Raises NotLetIn for an unknown key."""
        self._poller.register(self._socket, event)
        ready = dict(self._poller.poll(math.ceil(max(0.0, seconds) * 1000)))
        if self._socket in ready:
            return True
        if self._dealer.monitor in ready:
            refused = self._dealer
            self.close()
            time.sleep(LET_IN_PAUSE)
            self._open()  # ZeroMQ itself would never retry, and newer credentials may exist by now
            if self._dealer.credentials == refused.credentials:
                raise NotLetIn(refused.refusal())
        return False

    def request_payload(
        self, kind: type[m.Message], payload: bytes | memoryview | None = None, **fields: Any
    ) -> tuple[m.Message, bytes | memoryview]:
        """Sends a request and waits for its answer. Returns the answer and its payload (b"" if it has none)."""
        deadline = time.monotonic() + self.timeout
        if self._welcome is None:
            self._introduce(deadline)
        request = kind(id=next(self._ids), **fields)
        while True:
            try:
                reply, data = self._exchange(request, payload, deadline)
            except ProtocolError as error:
                raise LongshoreError(f"{self.address} speaks another protocol: {error}") from error
            if not isinstance(reply, m.Error):
                return reply, data
            if reply.code == "not_introduced":
                self._introduce(deadline)
                continue
            raise refusal(reply)

    def request(self, kind: type[m.Message], expect: type[R], **fields: Any) -> R:
        """Like `request_payload`, for requests without payload; checks the answer's type."""
        reply, _ = self.request_payload(kind, **fields)
        return expected(reply, expect, kind, self.address)

    def enrol(self, secret: str, name: str) -> admin.Enrolled:
        """Enrols this client's key under a name, with a join token's secret."""
        request = admin.Enrol(id=next(self._ids), secret=secret, name=name)
        reply, _ = self._exchange(request, None, time.monotonic() + self.timeout)
        if isinstance(reply, m.Error):
            raise UsageError(reply.message)
        return expected(reply, admin.Enrolled, admin.Enrol, self.address)

    def _answer_to(self, ids: Container[int], seconds: float) -> m.Message | None:
        """The next answer to one of these requests; None after a timeout."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._await(zmq.POLLIN, left):
            reply, _ = decode_for_client(self._socket.recv_multipart())
            if getattr(reply, "id", None) in ids:
                return reply
        return None
