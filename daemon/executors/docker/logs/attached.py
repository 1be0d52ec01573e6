"""A container's live output, for as long as its follower keeps up.

The engine reads a stored log at a third of the speed of live output. But a container blocks if its attachment is not
read; therefore a thread reads it continuously, and detaches if the backlog grows too large: the follower then continues
with the stored log.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import groupby
from threading import Condition

from daemon.executors.docker.logs.multiplexed import JobLog, ScriptEnd, StreamDemultiplexer
from daemon.executors.docker.logs.stored import QUIET_SECONDS
from daemon.logs.resume import Sink
from daemon.runtime.thread_pool import THREADS, Task

MAX_BACKLOG_BYTES = 8 << 20
"""Maximum backlog before the follower must continue with the stored log."""


class AttachedOutput:
    """The output of a container that has been attached to `connection` since before its start.

    `ended` is called from the reading thread as soon as the script's end is known.
    """

    def __init__(self, connection: socket.socket, ended: Callable[[ScriptEnd], None]) -> None:
        self._connection = connection
        self._ended = ended
        self._log = JobLog(self._put, noticed=self._noticed)
        self._reader = StreamDemultiplexer(self._log, stored=False)
        self._marks: set[bytes] = set()
        self._backlog: deque[tuple[float, bytes]] = deque()  # with the times at which they were read
        self._backlog_bytes = 0
        self._change = Condition()
        self.read_at: float | None = None
        """The time (wall clock) at which the bytes that the sink is just given were read."""
        self.open = True
        THREADS.start(Task(self._read, "output"))

    def _read(self) -> None:
        with contextlib.suppress(OSError, _Behind):
            self._reader.read(self._connection)
        if self._log.end is not None:
            self._ended(self._log.end)
        self.close()

    def _put(self, data: bytes) -> None:
        now = time.time()
        with self._change:
            if self._backlog_bytes + len(data) > MAX_BACKLOG_BYTES:
                raise _Behind
            self._backlog.append((now, data))
            self._backlog_bytes += len(data)
            self._change.notify_all()

    def _noticed(self, mark: bytes) -> None:
        with self._change:
            self._marks.add(mark)
            self._change.notify_all()

    @property
    def received(self) -> int:
        """Number of bytes received."""
        return self._reader.raw_bytes

    def heard(self, mark: bytes, timeout: float = 0.0) -> bool:
        """Whether a mark (see `script`) has arrived; waits at most `timeout` seconds while more data may come."""
        with self._change:
            self._change.wait_for(lambda: mark in self._marks or not self.open, timeout)
            return mark in self._marks

    def close(self) -> None:
        """Detaches from the container."""
        with self._change:
            self.open = False
            self._change.notify_all()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def follow(self, sink: Sink, runs: Callable[[], bool]) -> tuple[int, bool]:
        """Passes the log from its beginning to `sink`, as far as it arrives live.

        Returns the number of bytes, and whether the log is complete. `runs` returns whether the container is running.
        """
        given = 0
        while True:
            with self._change:
                changed = self._change.wait_for(lambda: self._backlog or not self.open, QUIET_SECONDS)
                taken = list(self._backlog)
                self._backlog.clear()
                self._backlog_bytes = 0
            if taken:
                for _, group in groupby(taken, key=_thousandths):
                    pieces = list(group)
                    data = b"".join(piece for _, piece in pieces)
                    self.read_at = pieces[0][0]
                    given += len(data)
                    sink(data)
            elif changed:
                return given, self._log.end is not None
            elif not runs():
                self.close()


def _thousandths(piece: tuple[float, bytes]) -> int:
    """Pieces that were read within the same millisecond are passed on together."""
    return int(piece[0] * 1000)


class _Behind(Exception):
    """The backlog is full."""
