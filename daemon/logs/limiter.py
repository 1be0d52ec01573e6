"""Cuts a job's log to its limit: keeps its head and its tail, with a line about the gap between them. Pure.

The result depends on the log alone, so a restarted worker that reads the log again gets the same one.
"""

from __future__ import annotations

from collections import deque

from daemon.logs.read_clock import TimedSink

TAIL_BYTES = 1 << 20
"""Maximum size of the tail, which stays in memory until the log ends."""
TAIL_SHARE = 4
"""Divisor of a small limit for the tail's share."""


class LogLimit:
    """Passes a log of any length to `sink` as at most `limit` bytes and one line; a limit of 0 passes everything.

    `stored` is the number of output bytes passed on before. Feed it the log from `start` on, each piece with the time
    at which it was read, then `close`.
    """

    def __init__(self, limit: int, sink: TimedSink, stored: int = 0) -> None:
        tail = min(TAIL_BYTES, limit // TAIL_SHARE)
        self._limit = limit
        self._head = limit - tail if limit else None
        self._tail = tail
        self._sink = sink
        self.start = stored if self._head is None else min(stored, self._head)
        self._read = self.start
        self._known = stored - self.start
        self._end = bytearray()
        self._times: deque[tuple[int, float]] = deque()  # pieces of the end: the byte after each, and its time

    def write(self, data: bytes, at: float) -> None:
        """The next bytes of the log."""
        if self._head is None:
            self._sink(data, at)
            return
        room = self._head - self._read
        self._read += len(data)
        if room >= len(data):
            self._sink(data, at)
            return
        if room > 0:
            self._sink(data[:room], at)
            data = data[room:]
        self._end += data
        self._times.append((self._read, at))
        if len(self._end) > 2 * self._tail + 1:
            del self._end[: len(self._end) - self._tail]
            while self._times[0][0] <= self._read - self._tail and len(self._times) > 1:
                self._times.popleft()

    def close(self) -> None:
        """The log has ended."""
        if self._head is None or self._read <= self._head:
            return
        rest = bytes(self._end)
        missing = self._read - self._head - self._tail
        line = b""
        if missing > 0:
            line = (
                f"\n[longshore: {missing} bytes are left out here; the limit of this log is {self._limit} bytes]\n"
            ).encode()
            rest = line + (rest[-self._tail :] if self._tail else b"")
        begin = self._known
        for end, at in self._times:
            length = max(len(line), len(rest) - (self._read - end))
            if length > begin:
                self._sink(rest[begin:length], at)
                begin = length
