"""The time at which the bytes of a log were read, on their way from an executor to the sender."""

from __future__ import annotations

import time
from collections.abc import Callable

from daemon.logs.resume import Sink

TimedSink = Callable[[bytes, float], None]
"""Takes bytes of a log, and the time (wall clock) at which they were read."""


class ReadClock:
    """`at` is the time at which the bytes that pass now were read.

    It is asked of `read_at` for each piece; None: just now.
    """

    def __init__(self, read_at: Callable[[], float | None]) -> None:
        self._read_at = read_at
        self.at = time.time()

    def stamped(self, sink: Sink) -> Sink:
        """A sink that sets `at` for each piece before passing it on."""

        def pass_on(data: bytes) -> None:
            self.at = self._read_at() or time.time()
            sink(data)

        return pass_on

    def timed(self, sink: TimedSink) -> Sink:
        """A sink that passes pieces on with their time."""
        return lambda data: sink(data, self.at)
