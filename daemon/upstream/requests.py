"""Requests to the coordinator that have an answer: threads call, the loop sends, and sends again until it is answered.

Every request of the protocol may be sent twice, so a lost connection only costs time. Knows no socket.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from protocol import messages as m

RESEND_AFTER = 5.0
"""Seconds without an answer, while connected, after which a request is sent again."""
BUSY_WAIT = 1.0
"""Seconds until a request is sent again that the coordinator could not do just now (its disk is full, say)."""

Answer = tuple[m.Message, bytes | memoryview]
Send = Callable[[m.Message, "bytes | memoryview | None"], object]


class Refused(Exception):
    """The coordinator answered with an error that asking again would not change."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Open:
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
        """Asks; the future gets the answer and its payload, or Refused. Cancel it to lose interest.

        `patient`: a coordinator that can't do it just now is asked again. `after`: not before so many seconds.
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
        """Sends all that is open, in the order in which it was asked."""
        self._connected = True
        self.tick(float("inf"))

    def disconnected(self) -> None:
        """Holds everything back."""
        self._connected = False

    def tick(self, now: float) -> None:
        """Sends again what was not answered in time; forgets what nobody waits for any more."""
        for number, request in list(self._open.items()):
            if request.future.cancelled():
                del self._open[number]
            elif self._connected and request.send_at <= now:
                self._transmit(request)

    def answered(self, message: m.Message, payload: bytes | memoryview) -> None:
        """An answer has come; the second one to a request that was sent twice is ignored."""
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
