"""One attempt's log in transfer to the coordinator: offsets, credit, resending. Knows no socket and no clock.

One thread writes, and blocks while a window of bytes is unacknowledged; the loop takes chunks, sends them, and reports
acknowledgements. Bytes are kept until acknowledged, to be resent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from daemon.logs.log import FLUSH_BYTES, Chunk
from protocol.names import CHUNK_BYTES

WINDOW_BYTES = 1 << 20
"""Unacknowledged bytes per job. The rest stays in the engine's log, so that a slow coordinator costs no memory here."""


class LogAborted(Exception):
    """The rest of this log is not wanted."""


class LogRestarted(Exception):
    """The coordinator has lost bytes that are no longer kept here: read the log again from `LogSender.resume` on."""


class LogSender:
    """Bytes from `offset` on. Calls `wake` in the writing thread when there are new bytes to take."""

    def __init__(self, wake: Callable[[], None], offset: int = 0, window: int = WINDOW_BYTES) -> None:
        self._wake = wake
        self._window = window
        self._changed = Condition()
        self._unsent: list[bytes] = []
        self._in_flight: deque[Chunk] = deque()
        self._acknowledged = offset
        self._sent = offset
        self._end = offset
        self._aborted = False
        self._restarted = False

    # the writing thread

    def write(self, data: bytes) -> None:
        """Takes bytes; blocks while the window is full. Raises LogAborted, LogRestarted."""
        if not data:
            return
        with self._changed:
            while not (self._aborted or self._restarted) and self._end - self._acknowledged >= self._window:
                self._changed.wait()
            if self._aborted:
                raise LogAborted
            if self._restarted:
                raise LogRestarted
            before = self._end - self._sent
            self._unsent.append(bytes(data))
            self._end += len(data)
            news = not before or before < FLUSH_BYTES <= before + len(data)
        if news:
            self._wake()

    @property
    def end(self) -> int:
        """The offset after the last written byte."""
        return self._end

    def whole(self) -> int | None:
        """The log's length, if all of it was written; None if it was restarted since, and must be read again."""
        with self._changed:
            return None if self._restarted and not self._aborted else self._end

    def resume(self) -> int:
        """Offset where the writing thread must start, or restart after LogRestarted."""
        with self._changed:
            self._restarted = False
            return self._end

    # the loop

    @property
    def sent(self) -> int:
        """The offset after the last sent byte."""
        return self._sent

    @property
    def acknowledged(self) -> int:
        """The offset below which the coordinator has stored everything."""
        return self._acknowledged

    @property
    def waiting(self) -> int:
        """Number of unsent bytes."""
        return self._end - self._sent

    @property
    def unacknowledged(self) -> bool:
        """Whether sent bytes are unacknowledged."""
        return self._sent > self._acknowledged

    def take(self) -> list[Chunk]:
        """The unsent bytes, in chunks; they count as sent from now on."""
        with self._changed:
            data = b"".join(self._unsent)
            self._unsent.clear()
            chunks = [(self._sent + at, data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]
            self._in_flight.extend(chunks)
            self._sent += len(data)
            return chunks

    def acknowledge(self, offset: int) -> bool:
        """The coordinator has stored all bytes below `offset`. Returns whether that is progress."""
        with self._changed:
            if not self._acknowledged < offset <= self._sent:
                return False
            self._acknowledged = offset
            while self._in_flight and self._in_flight[0][0] + len(self._in_flight[0][1]) <= offset:
                self._in_flight.popleft()
            if self._in_flight and self._in_flight[0][0] < offset:
                start, data = self._in_flight.popleft()
                self._in_flight.appendleft((offset, data[offset - start :]))
            self._changed.notify()
            return True

    def again(self) -> list[Chunk]:
        """The sent but unacknowledged bytes, to be resent."""
        with self._changed:
            return list(self._in_flight)

    def restart(self, offset: int) -> None:
        """Drops everything: the log must be read again from `offset` on."""
        with self._changed:
            self._unsent.clear()
            self._in_flight.clear()
            self._acknowledged = self._sent = self._end = offset
            self._restarted = True
            self._changed.notify()

    def abort(self) -> None:
        """Releases a blocked writer; takes no more bytes."""
        with self._changed:
            self._aborted = True
            self._changed.notify()
