"""One attempt's log in transfer to the coordinator: offsets, credit, times, resending. Knows no socket and no clock.

One thread writes, and blocks while a window of bytes is unacknowledged; the loop takes chunks, sends them, and reports
acknowledgements. Bytes are kept until acknowledged, to be resent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition

from daemon.logs.log import FLUSH_BYTES
from protocol.log_times import MOST_MARKS, LogPiece, Mark, mark, within
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
        self._marks: list[Mark] = []  # of the unsent bytes
        self._in_flight: deque[LogPiece] = deque()
        self._acknowledged = offset
        self._sent = offset
        self._end = offset
        self._aborted = False
        self._restarted = False

    # the writing thread

    def write(self, data: bytes, at: float) -> None:
        """Takes bytes that were read `at` this time (wall clock); blocks while the window is full.

        Raises LogAborted, LogRestarted.
        """
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
            began = mark(self._end, at)
            if not self._marks or self._marks[-1].at != began.at:
                self._marks.append(began)
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

    def take(self) -> list[LogPiece]:
        """The unsent bytes, in chunks; they count as sent from now on."""
        with self._changed:
            data, marks, start = b"".join(self._unsent), self._marks, self._sent
            self._unsent, self._marks = [], []
            chunks: list[LogPiece] = []
            while start < self._end:
                end = min(start + CHUNK_BYTES, self._end)
                inside = within(marks, start, end)
                if len(inside) > MOST_MARKS:
                    end = inside[MOST_MARKS].offset
                    del inside[MOST_MARKS:]
                chunks.append(LogPiece(start, data[start - self._sent : end - self._sent], inside))
                start = end
            self._in_flight.extend(chunks)
            self._sent = start
            return chunks

    def acknowledge(self, offset: int) -> bool:
        """The coordinator has stored all bytes below `offset`. Returns whether that is progress."""
        with self._changed:
            if not self._acknowledged < offset <= self._sent:
                return False
            self._acknowledged = offset
            while self._in_flight and self._in_flight[0].end <= offset:
                self._in_flight.popleft()
            if self._in_flight and self._in_flight[0].offset < offset:
                self._in_flight[0] = self._in_flight[0].since(offset)
            self._changed.notify()
            return True

    def again(self) -> list[LogPiece]:
        """The sent but unacknowledged bytes, to be resent."""
        with self._changed:
            return list(self._in_flight)

    def restart(self, offset: int) -> None:
        """Drops everything: the log must be read again from `offset` on."""
        with self._changed:
            self._unsent.clear()
            self._marks.clear()
            self._in_flight.clear()
            self._acknowledged = self._sent = self._end = offset
            self._restarted = True
            self._changed.notify()

    def abort(self) -> None:
        """Releases a blocked writer; takes no more bytes."""
        with self._changed:
            self._aborted = True
            self._changed.notify()
