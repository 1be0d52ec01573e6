"""Requests to the coordinator: threads call, and the loop sends and resends until an answer arrives.

All requests of the protocol are idempotent, so a lost connection only costs time. Knows no socket.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import msgspec

from protocol import messages as m

RESEND_AFTER = 5.0
"""Seconds without an answer, while connected, before a request is resent."""
BUSY_WAIT = 1.0
"""Seconds before a request is resent to a coordinator that is temporarily unable (its disk is full, say)."""

Answer = tuple[m.Message, bytes | memoryview]
Send = Callable[[m.Message, "bytes | memoryview | None"], object]


class Refused(Exception):
    """The coordinator answered with an error that a retry would not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Open(msgspec.Struct):
    future: Future[Answer]
    message: m.Message
    payload: bytes | memoryview | None
    send_at: float
    patient: bool


class Requests:
    """`post` hands a call from any thread to the loop; `send` is only called in the loop, while connected."""

    def __init__(self, post: Callable[..., None], send: Send, clock: Callable[[], float]) -> None:
        self._post = post
        self._send = send
        self._clock = clock
        self._ids = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._connected = False

    # any thread

    def call(
        self,
        kind: type[m.Message],
        payload: bytes | memoryview | None = None,
        *,
        patient: bool = True,
        after: float = 0.0,
        **fields: Any,
    ) -> Future[Answer]:
        """Sends a request; the future gets the answer and its payload, or Refused. Cancel it to drop the request.

        `patient`: retry while the coordinator is temporarily unable. `after`: seconds to wait before the first send.
        """
        future: Future[Answer] = Future()
        self._post(self._start, future, kind, payload, fields, patient, after)
        return future

    # the loop

    def _start(
        self,
        future: Future[Answer],
        kind: type[m.Message],
        payload: bytes | memoryview | None,
        fields: dict[str, Any],
        patient: bool,
        after: float,
    ) -> None:
        if not future.cancelled():
            number = next(self._ids)
            request = _Open(future, kind(id=number, **fields), payload, self._clock() + after, patient)
            self._open[number] = request
            if self._connected and not after:
                self._transmit(request)

    def _transmit(self, request: _Open) -> None:
        request.send_at = self._clock() + RESEND_AFTER
        self._send(request.message, request.payload)

    def connected(self) -> None:
        """Sends all open requests, in their original order."""
        self._connected = True
        self.tick(float("inf"))

    def disconnected(self) -> None:
        """Holds all requests back."""
        self._connected = False

    def tick(self, now: float) -> None:
        """Resends overdue requests; drops cancelled ones."""
        for number, request in list(self._open.items()):
            if request.future.cancelled():
                del self._open[number]
            elif self._connected and request.send_at <= now:
                self._transmit(request)

    def answered(self, message: m.Message, payload: bytes | memoryview) -> None:
        """Handles an answer; a duplicate, from a request that was sent twice, is ignored."""
        number = getattr(message, "id", None)
        waiting = self._open.get(number) if number is not None else None
        if isinstance(message, m.Error) and message.code == "unavailable" and waiting is not None and waiting.patient:
            waiting.send_at = self._clock() + BUSY_WAIT
            return
        request = self._open.pop(number, None) if number is not None else None
        if request is None or not request.future.set_running_or_notify_cancel():
            return
        if isinstance(message, m.Error):
            request.future.set_exception(Refused(message.code, message.message))
        else:
            request.future.set_result((message, payload))
