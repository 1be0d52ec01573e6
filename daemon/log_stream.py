"""Reads a job's log from the engine's raw stream: demultiplexed, our marks taken out. Pure.

What a reader gets is a function of the container's log alone, whatever the pieces in which it arrives; so a byte offset
means the same to every daemon that reads it, and a log is resumed by reading it again and skipping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daemon.script import END_MARK, END_MARK_BYTES, END_MARK_START, RELEASED_MARK

HEADER_BYTES = 8
"""Before each piece of the stream: stream number, three zeros, length as a big-endian 32-bit number."""
DETAIL_BYTES = 1
"""Each piece begins with its details: none, and a space. They are asked for as an empty piece leaves no other trace."""
STDERR = 2
PIECE_BYTES = 16 << 10
"""The engine cuts a longer line into pieces of this size and a rest, maybe an empty one. Its driver `local` loses the
end of such a line, so a rest without one gets it back. (Only a killed container leaves a line that really has none.)"""
NEWLINE = 10
RECEIVE_BYTES = 1 << 20

Sink = Callable[[bytes], None]


class Source(Protocol):
    """What bytes are received from: a socket."""

    def recv_into(self, buffer: memoryview, /) -> int: ...


class Skipper:
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


class LogDecoder:
    """Makes a job's log of the engine's stream, over as many connections as it takes.

    `raw_bytes` is how far the stream was taken; a new connection starts with the stream's beginning, and `read` skips
    so much of it. `exit_code` is that of our last line, after which nothing belongs to the log.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""  # the end of the log so far, where it may be the beginning of END_MARK
        self.raw_bytes = 0
        self.exit_code: int | None = None

    def read(self, source: Source) -> None:
        """Takes all that `source` has, until it is closed or our last line is there.

        An unfinished piece at its end is left to the next connection.
        """
        buffer = bytearray(RECEIVE_BYTES)
        view = memoryview(buffer)
        skip = self.raw_bytes
        while skip:
            received = source.recv_into(view[: min(skip, RECEIVE_BYTES)])
            if not received:
                return
            skip -= received
        filled = 0
        while received := source.recv_into(view[filled:]):
            filled += received
            taken = self._take(view, filled)
            if self.exit_code is not None:
                return
            filled -= taken
            if taken and filled:
                view[:filled] = view[taken : taken + filled]
            elif filled == len(buffer):  # one piece is larger than the buffer
                buffer = bytearray(2 * filled)
                buffer[:filled] = view
                view = memoryview(buffer)

    def close(self) -> None:
        """The stream has ended: passes on what was held back of it."""
        held, self._held = self._held, b""
        if held:
            self._sink(held)

    def _take(self, view: memoryview, end: int) -> int:
        """Passes on the whole pieces in `view[:end]`; gives how many bytes they are."""
        start = 0
        pieces: list[bytes | memoryview] = []
        while start + HEADER_BYTES <= end:
            body = start + HEADER_BYTES + DETAIL_BYTES
            size = view[start + 4] << 24 | view[start + 5] << 16 | view[start + 6] << 8 | view[start + 7]
            stop = start + HEADER_BYTES + size
            if stop > end:
                break
            pieces.append(
                view[body:stop] if view[start] != STDERR else bytes(view[body:stop]).removesuffix(RELEASED_MARK)
            )
            if view[stop - 1] != NEWLINE and size != DETAIL_BYTES + PIECE_BYTES:
                pieces.append(b"\n")
            start = stop
        if pieces:
            self.raw_bytes += start
            self._pass(b"".join(pieces))
        return start

    def _pass(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        if END_MARK_START in data and (found := END_MARK.search(data)):
            self.exit_code = int(found[1])
            data = data[: found.start()]
        elif (possible := data.rfind(END_MARK_START[:1], -END_MARK_BYTES)) >= 0 and _may_be_mark(data[possible:]):
            self._held = data[possible:]
            data = data[:possible]
        if data:
            self._sink(data)


def _may_be_mark(data: bytes) -> bool:
    """Whether `data` is a beginning of END_MARK."""
    return END_MARK_START.startswith(data) or (
        data.startswith(END_MARK_START) and data[len(END_MARK_START) :].isdigit()
    )
