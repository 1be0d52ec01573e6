"""Resumes a log: drops its known part. Pure."""

from __future__ import annotations

from collections.abc import Callable

Sink = Callable[[bytes], None]


class OffsetFilter:
    """Drops the first `offset` bytes of a stream."""

    def __init__(self, offset: int, sink: Sink) -> None:
        self._left = offset
        self._sink = sink

    def write(self, data: bytes) -> None:
        if self._left:
            dropped = min(self._left, len(data))
            self._left -= dropped
            data = data[dropped:]
        if data:
            self._sink(data)

    def skip_no_more(self) -> None:
        """Drops nothing from now on."""
        self._left = 0
