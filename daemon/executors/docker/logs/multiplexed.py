"""Assembles a job's log from the engine's stream: its stored log, or the live output. Pure.

The log is a container's stderr before its gate opened (possibly the image's entrypoint's) and then all of its stdout up
to our last line. It thus depends only on the output, not on its source or division into pieces; a byte offset means
the same to every daemon that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from daemon.executors.common.script import (
    BARE_MARK,
    END_MARK,
    END_MARK_BYTES,
    END_MARK_START,
    READY_MARK,
    RELEASED_MARK,
)
from daemon.logs.resume import Sink

HEADER_BYTES = 8
"""Before each piece of a stream: stream number, three zero bytes, length as a big-endian 32-bit number."""
STDERR = 2
DETAIL_BYTES = 1
"""Each stored piece begins with its details: none, and a space. They are requested because an empty piece leaves no
other trace."""
PIECE_BYTES = 16 << 10
"""The engine stores a longer line in pieces of this size and a rest, possibly empty. Its driver `local` loses the
newline of such a line, so a rest without one gets it back. (Only a killed container leaves a line without one.)"""
NEWLINE = 10
RECEIVE_BYTES = 256 << 10
MAX_HELD_BYTES = 16 << 20
"""Limit of stdout held back for the gate's mark on stderr. The mark is written first, so more is an entrypoint's, or
the engine has dropped the beginning of the log."""
BEGINNING_BYTES = 64
"""Bytes that identify the beginning of a stored log: they include the gate's mark."""

LONGEST_MARK = max(map(len, (READY_MARK, BARE_MARK, RELEASED_MARK)))


class ScriptEnd(NamedTuple):
    """A script's end, from our last line in its log.

    `out_of_memory`: the kernel killed a process of it. `expired`: it was stopped at its time limit.
    """

    exit_code: int
    out_of_memory: bool
    expired: bool = False


class Source(Protocol):
    """A source of bytes, such as a socket."""

    def recv_into(self, buffer: memoryview, /) -> int: ...


class LogTruncated(Exception):
    """A stored log no longer begins as before: the engine has dropped its oldest part."""


class JobLog:
    """Assembles a job's log from pieces of its stdout and stderr, and passes it to `sink`.

    `end` comes from our last line, after which nothing belongs to the log; it is None as long as the sink has not taken
    all before it. `unmarked` is called when so much has arrived without the gate's mark that no more of it is held
    back, `noticed` with each of READY_MARK, BARE_MARK and RELEASED_MARK as it arrives.
    """

    def __init__(
        self,
        sink: Sink,
        unmarked: Callable[[], None] = lambda: None,
        noticed: Callable[[bytes], None] = lambda mark: None,
    ) -> None:
        self._sink = sink
        self._unmarked = unmarked
        self._noticed = noticed
        self._errors = bytearray()
        self._early = bytearray()  # stdout before the mark on stderr
        self._released = False
        self._held = b""  # the end of the log so far, if it may begin END_MARK
        self.end: ScriptEnd | None = None

    def stderr(self, data: bytes) -> None:
        """The next bytes of stderr."""
        if self._released:
            return
        looked = max(0, len(self._errors) - LONGEST_MARK)
        self._errors += data
        for mark in (READY_MARK, BARE_MARK):
            if (at := self._errors.find(mark, looked)) >= 0:
                del self._errors[at : at + len(mark)]
                self._noticed(mark)
        if (at := self._errors.find(RELEASED_MARK, looked)) >= 0:
            del self._errors[at:]  # later stderr is not the script's
            self.begin()
            self._noticed(RELEASED_MARK)

    def stdout(self, data: bytes) -> None:
        """The next bytes of stdout."""
        if self._released:
            self._pass(data)
            return
        self._early += data
        if len(self._early) > MAX_HELD_BYTES:
            self._unmarked()
            self.begin()

    def begin(self) -> None:
        """Stops holding output back for the gate's mark."""
        if not self._released:
            self._released = True
            self._give(bytes(self._errors))
            self._pass(bytes(self._early))
            self._errors.clear()
            self._early.clear()

    def close(self) -> None:
        """End of input: passes on the bytes held back."""
        self.begin()
        held, self._held = self._held, b""
        self._give(held)

    def _pass(self, data: bytes) -> None:
        if self.end is not None:
            return
        if self._held:
            data = self._held + data
            self._held = b""
        if END_MARK_START in data and (found := END_MARK.search(data)):
            self._give(data[: found.start()])  # first: a log whose sink has refused a part of it is not complete
            self.end = ScriptEnd(int(found[1]), found[2] == b"1", found[2] == b"2")
            return
        if (possible := data.rfind(END_MARK_START[:1], -END_MARK_BYTES)) >= 0 and _may_be_mark(data[possible:]):
            self._held = data[possible:]
            data = data[:possible]
        self._give(data)

    def _give(self, data: bytes) -> None:
        if data:
            self._sink(data)


def _may_be_mark(data: bytes) -> bool:
    """Whether `data` is a prefix of END_MARK."""
    rest = data.removeprefix(END_MARK_START)
    return END_MARK_START.startswith(data) or (rest != data and rest.replace(b" ", b"").isdigit())


class StreamDemultiplexer:
    """Demultiplexes the engine's stream. `stored`: it is a stored log's, otherwise an attachment's.

    A stored log may take several connections. Each starts from the log's beginning; `read` skips the known part.
    `beginning` are the first bytes read.
    """

    def __init__(self, log: JobLog, *, stored: bool) -> None:
        self._log = log
        self._stored = stored
        self.raw_bytes = 0
        self.beginning = b""

    def read(self, source: Source) -> None:
        """Reads `source` until it is closed or our last line has arrived.

        An unfinished piece at its end is left to the next connection. Raises LogTruncated.
        """
        buffer = bytearray(RECEIVE_BYTES)
        view = memoryview(buffer)
        skip = self.raw_bytes - self.check_beginning(source)
        while skip:
            received = source.recv_into(view[: min(skip, RECEIVE_BYTES)])
            if not received:
                return
            skip -= received
        filled = 0
        while received := source.recv_into(view[filled:]):
            filled += received
            taken = self._take(view, filled)
            if self._log.end is not None:
                return
            filled -= taken
            if taken and filled:
                view[:filled] = view[taken : taken + filled]
            elif filled == len(buffer):  # one piece is larger than the buffer
                buffer = bytearray(2 * filled)
                buffer[:filled] = view
                view = memoryview(buffer)

    def check_beginning(self, source: Source) -> int:
        """Reads the known beginning of the log from a new connection; returns its length. Raises LogTruncated."""
        known = self.beginning
        received = bytearray()
        buffer = bytearray(len(known))
        while len(received) < len(known) and (size := source.recv_into(memoryview(buffer)[len(received) :])):
            received += buffer[len(received) : len(received) + size]
            if not known.startswith(received):
                raise LogTruncated
        return len(received)

    def _take(self, view: memoryview, end: int) -> int:
        """Passes on the complete pieces in `view[:end]`; returns their length."""
        stored, details = self._stored, DETAIL_BYTES if self._stored else 0
        start = 0
        pieces: list[bytes | memoryview] = []
        while start + HEADER_BYTES <= end:
            body = start + HEADER_BYTES
            size = view[start + 4] << 24 | view[start + 5] << 16 | view[start + 6] << 8 | view[start + 7]
            stop = body + size
            if stop > end:
                break
            cut = stored and view[stop - 1] != NEWLINE and size != details + PIECE_BYTES
            if view[start] == STDERR:
                self._log.stderr(bytes(view[body + details : stop]) + (b"\n" if cut else b""))
            else:
                pieces.append(view[body + details : stop])
                if cut:
                    pieces.append(b"\n")
            start = stop
        if len(self.beginning) < BEGINNING_BYTES:
            self.beginning += bytes(view[: min(start, BEGINNING_BYTES - len(self.beginning))])
        self.raw_bytes += start
        if pieces:
            self._log.stdout(b"".join(pieces))
        return start
