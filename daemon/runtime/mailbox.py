"""Hands work from threads to a loop: calls go into a queue; a socket pair wakes the loop's poll. Knows no ZeroMQ."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

Call = tuple[Callable[..., None], tuple[Any, ...]]


class Mailbox:
    """A queue of calls. Any thread may `post`; the loop's thread polls `fileno` and calls `drain`."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._awake = False  # a wake-up byte is in flight; a race costs at most one extra byte

    def fileno(self) -> int:
        """The descriptor that the loop polls for input."""
        return self._reader.fileno()

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Lets the loop call `function`. Dropped after `close`."""
        self._calls.append((function, arguments))
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: the loop is awake anyway; closed: the loop has ended
                self._writer.send(b"\0")

    def drain(self) -> list[Call]:
        """Takes the posted calls."""
        if self._awake:
            with contextlib.suppress(BlockingIOError):
                self._reader.recv(4096)
            self._awake = False  # before the queue is read: later posts send their own byte
        calls = []
        while self._calls:
            calls.append(self._calls.popleft())
        return calls

    def close(self) -> None:
        """Closes the socket pair."""
        self._reader.close()
        self._writer.close()
