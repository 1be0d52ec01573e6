"""How threads hand work to a loop: calls go into a queue, and a socket pair wakes the loop's poll. Knows no ZeroMQ."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

Call = tuple[Callable[..., None], tuple[Any, ...]]


class Mailbox:
    """Any thread may `post`; the one that owns the loop polls `fileno` and calls `drain`."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._awake = False  # a wake-up byte is on its way; races only ever cause one byte too many

    def fileno(self) -> int:
        """What the loop polls for input."""
        return self._reader.fileno()

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Lets the loop call `function`. After `close` it is dropped."""
        self._calls.append((function, arguments))
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: it is awake anyway; closed: nobody is there any more
                self._writer.send(b"\0")

    def drain(self) -> list[Call]:
        """Takes what was posted."""
        if self._awake:
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)
            self._awake = False  # before the queue is read: what is posted from here on sends its own byte
        calls = []
        while self._calls:
            calls.append(self._calls.popleft())
        return calls

    def close(self) -> None:
        """Frees the socket pair."""
        self._reader.close()
        self._writer.close()
