"""The worker's connection to the coordinator: a DEALER socket that reconnects forever and tracks the greeting.

Handles frames and liveness, not jobs. Owned by one loop. It queues nothing for an absent coordinator: the owners of
undelivered messages resend them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from enum import Enum
from typing import Protocol
from uuid import uuid4

import zmq

from protocol import messages as m
from protocol.codec import decode_for_worker, each_of, encode
from protocol.dealer import HANDSHAKE_FAILURES, Dealer
from protocol.errors import ProtocolError
from protocol.keys import Credentials

TURN_FRAMES = 200
"""Messages handled per loop turn, so that timers and threads get their share during a burst."""
SEND_BACKLOG = 20_000
"""Frames that may queue in the socket while a live coordinator is slow."""
LET_IN_PAUSE = 1.0
"""Seconds until a reconnect, with the then current credentials, after the coordinator rejected the worker."""
GOODBYE_LINGER = 500
"""Milliseconds for the last frames when the socket closes."""

PROGRESS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED

logger = logging.getLogger(__name__)


class ConnectionState(Enum):
    """Progress of the connection."""

    CONNECTING = "connecting"
    GREETING = "greeting"  # hello was sent
    GREETED = "greeted"  # welcome was received


class HasFileno(Protocol):
    """An object that can be polled."""

    def fileno(self) -> int: ...


class Connection:
    """Call `wait`, then `receive`; when `wait` returns True, send a hello with `greet`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        wakeup: HasFileno,
        credentials: Credentials | None = None,
    ) -> None:
        self.state = ConnectionState.CONNECTING
        self.session = ""
        self._context = context
        self._address = address
        self._given = credentials
        self._wakeup = wakeup.fileno()
        self._rejection_logged = False  # the rejection by the coordinator is logged
        self._open()

    def _open(self) -> None:
        self._dealer = Dealer(
            self._context, self._address, self._given, also=PROGRESS, send_limit=SEND_BACKLOG, immediate=True
        )
        self._socket = self._dealer.socket
        self._reopen_at: float | None = None  # monotonic; set after a rejection by the coordinator
        self._broken = False  # disconnected, and not reconnected; the socket may still look writable
        self._poller = zmq.Poller()
        self._poller.register(self._dealer.monitor, zmq.POLLIN)
        self._poller.register(self._wakeup, zmq.POLLIN)
        self._expect(ConnectionState.CONNECTING)

    def _expect(self, state: ConnectionState) -> None:
        self.state = state
        to_greet = state is ConnectionState.CONNECTING and not self._broken
        self._poller.register(self._socket, zmq.POLLIN | zmq.POLLOUT if to_greet else zmq.POLLIN)

    def reopen(self) -> None:
        """Opens a fresh socket, for use when the old one's peer has gone silent."""
        self._dealer.close()
        self._open()

    def close(self) -> None:
        """Closes the socket, with a short linger for the last frames."""
        self._dealer.close(GOODBYE_LINGER)

    def wait(self, seconds: float) -> bool:
        """Sleeps until there is work. Returns whether a hello is due and can be sent."""
        if self._reopen_at is not None:
            seconds = min(seconds, self._reopen_at - time.monotonic())
        ready = dict(self._poller.poll(math.ceil(max(0.0, seconds) * 1000)))
        if self._dealer.monitor in ready:
            for event in self._dealer.events():
                self._noticed(event)
        if self._reopen_at is not None and time.monotonic() >= self._reopen_at:
            self.reopen()
            return False
        writable = bool(ready.get(self._socket, 0) & zmq.POLLOUT)
        return self.state is ConnectionState.CONNECTING and not self._broken and writable

    def _noticed(self, event: int) -> None:
        """Handles an event of the socket's monitor."""
        if event & HANDSHAKE_FAILURES:
            if not self._rejection_logged:
                logger.error("%s", self._dealer.refusal())
            self._rejection_logged = True
            self._reopen_at = time.monotonic() + LET_IN_PAUSE
        else:
            self._broken = event == zmq.EVENT_DISCONNECTED
            self._rejection_logged = self._rejection_logged and self._broken
            self._expect(ConnectionState.CONNECTING if self._broken else self.state)

    def greet(self, hello: m.Hello) -> bool:
        """Sends the first frame of a connection. Returns False if the connection is lost."""
        if not self._transmit(hello, None):
            return False
        self._expect(ConnectionState.GREETING)
        return True

    def new_session(self) -> str:
        """A new session id, for the next hello."""
        self.session = uuid4().hex
        return self.session

    def lost(self) -> None:
        """The coordinator does not know this connection (any more): greet it again."""
        self._expect(ConnectionState.CONNECTING)

    def welcomed(self) -> None:
        """A welcome has come."""
        self._expect(ConnectionState.GREETED)

    def send(self, message: m.Message, payload: bytes | memoryview | None = None) -> bool:
        """Sends, if greeted. Returns False if the message was dropped."""
        return self.state is ConnectionState.GREETED and self._transmit(message, payload)

    def say_goodbye(self, goodbye: m.Goodbye) -> None:
        """Sends the last frame, even without a welcome."""
        if self.state is not ConnectionState.CONNECTING:
            self._transmit(goodbye, None)

    def _transmit(self, message: m.Message, payload: bytes | memoryview | None) -> bool:
        try:
            self._socket.send_multipart(encode(message, payload), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Iterator[tuple[m.Message, bytes | memoryview]]:
        """Yields arrived messages, a bounded number. A bad frame is logged and skipped."""
        for _ in range(TURN_FRAMES):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                message, payload = decode_for_worker(frames)
                for one in each_of(message):
                    yield one, payload
            except ProtocolError as error:
                logger.warning("dropped a frame from the coordinator: %s", error, extra={"code": error.code})
