"""Job logs: one append-only file per attempt and stream, and an index of times beside it. Knows nothing of jobs.

Bytes are buffered in memory as they arrive and written once per turn, so that a turn's `flush` can be retried after a
full disk. Small writes are made durable by the journal, large ones by syncing the file. Once the journal has been
replayed at the start, the files' sizes are authoritative.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from coordinator.files.journal import JOURNAL_BYTES, Journal, Write
from coordinator.files.log_index import first_since, open_end, pages_of
from protocol.errors import ProtocolError
from protocol.keys import PRIVATE_DIRECTORY
from protocol.log_times import IndexEnd, LogPiece, Mark, within
from protocol.names import ATTEMPT_ID

LOG, TIMES = "log", "times"
"""The endings of a log's file and its index's."""
STREAM = re.compile(r"job|service-[A-Za-z0-9_.-]{1,200}")
FILES_PER_DIRECTORY = 1000
SMALL_BYTES = 64 << 10
"""Maximum bytes of one log in a turn that go through the journal."""
WRITE_PIECES = 512
"""Buffers per system call; the kernel accepts at most 1024."""
KNOWN_ENDS = 1000
"""Ends of indexes kept in memory."""

Bytes = bytes | memoryview


class _Pending:
    """Bytes of one file received since the last flush, after the `stored` ones."""

    __slots__ = ("path", "pieces", "size", "stored")

    def __init__(self, path: str, stored: int) -> None:
        self.path = path
        self.stored = stored
        self.pieces: list[Bytes] = []
        self.size = stored

    def add(self, data: Bytes) -> None:
        """Takes the next bytes."""
        self.pieces.append(data)
        self.size += len(data)

    def write(self, directory: str) -> None:
        """Writes the pieces; idempotent, so it can be retried."""
        descriptor = os.open(f"{directory}/{self.path}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            at = self.stored
            for start in range(0, len(self.pieces), WRITE_PIECES):
                at += _write(descriptor, self.pieces[start : start + WRITE_PIECES], at)
        finally:
            os.close(descriptor)


class LogStore:
    """The logs below `directory`. Methods that name a log raise ProtocolError for an invalid name."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        self._directory = str(directory)
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._pending_times: dict[tuple[str, str], _Pending] = {}
        self._ends: dict[tuple[str, str], IndexEnd] = {}  # of the indexes written last
        self._journal = Journal(directory)

    def close(self) -> None:
        """Closes the journal, leaving nothing in it. Unflushed bytes are dropped."""
        self._journal.close()

    def path(self, attempt: str, stream: str = "job") -> str:
        """The path of a log, whether or not it exists."""
        return f"{self._directory}/{_relative(attempt, stream)}"

    def stored(self, attempt: str, stream: str = "job") -> int:
        """A log's durable length."""
        try:
            return os.stat(self.path(attempt, stream)).st_size
        except FileNotFoundError:
            return 0

    def size(self, attempt: str, stream: str = "job") -> int:
        """A log's length, including unflushed bytes."""
        pending = self._pending.get((attempt, stream))
        return pending.size if pending else self.stored(attempt, stream)

    def streams(self, attempt: str) -> list[str]:
        """The streams of an attempt that have a log; "job" first, even if it is empty."""
        found = Path(self.path(attempt)).parent.glob(f"{attempt}.service-*.log")
        names = {path.name[len(attempt) + 1 : -len(".log")] for path in found}
        names |= {stream for pending, stream in self._pending if pending == attempt}
        return ["job", *sorted(names - {"job"})]

    def services(self, attempt: str) -> list[str]:
        """The names of an attempt's services with a log."""
        return [stream.removeprefix("service-") for stream in self.streams(attempt)[1:]]

    def append(
        self, attempt: str, offset: int, data: Bytes, stream: str = "job", marks: Sequence[Mark] = ()
    ) -> LogPiece:
        """Appends the new part of `data`, with its times, and returns it.

        It is empty if all of `data` is known, or would leave a gap.
        """
        if offset < 0:
            raise ProtocolError("bad_field", f"a log's offset is 0 or more, not {offset}")
        pending = self._pending.get((attempt, stream))
        if pending is None:
            pending = _Pending(_relative(attempt, stream), self.stored(attempt, stream))
        known = pending.size - offset
        if not 0 <= known < len(data):
            return LogPiece(offset, b"")
        if known:
            data = memoryview(data)[known:]
            marks = within(marks, offset + known, offset + known + len(data))
        if marks:
            self._append_times(attempt, stream, pending.stored, marks)
        pending.add(data)
        self._pending[attempt, stream] = pending
        return LogPiece(offset + known, data, marks)

    def _append_times(self, attempt: str, stream: str, log_size: int, marks: Sequence[Mark]) -> None:
        key = attempt, stream
        path = _relative(attempt, stream, TIMES)
        end = self._ends.pop(key, None) or open_end(f"{self._directory}/{path}", log_size)
        self._ends[key] = end  # as the one used last
        before = end.size
        if data := end.append(marks):
            if key not in self._pending_times:
                self._pending_times[key] = _Pending(path, before)
            self._pending_times[key].add(data)

    def flush(self) -> None:
        """Makes appended bytes durable. Raises OSError, and can then be retried."""
        taken = list(self._pending.values())
        for folder in {os.path.dirname(pending.path) for pending in taken if pending.stored == 0}:
            os.makedirs(f"{self._directory}/{folder}", exist_ok=True)
        for pending in taken:
            pending.write(self._directory)
        small = [pending for pending in taken if pending.size - pending.stored <= SMALL_BYTES]
        if sum(pending.size - pending.stored for pending in small) > JOURNAL_BYTES // 2:
            small = []
        if small:
            self._journal.write([Write(p.path, p.stored, b"".join(p.pieces)) for p in small])
        if large := set(taken).difference(small):
            self._journal.sync([p.path for p in large], new=[p.path for p in large if p.stored == 0])
        for times in self._pending_times.values():
            times.write(self._directory)
        self._pending.clear()
        self._pending_times.clear()
        while len(self._ends) > KNOWN_ENDS:
            del self._ends[next(iter(self._ends))]

    def read(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        """Up to `length` durable bytes from `offset` on; none if the log does not exist."""
        try:
            with open(self.path(attempt, stream), "rb", buffering=0) as file:
                length = min(length, os.fstat(file.fileno()).st_size - offset)
                return os.pread(file.fileno(), length, offset) if length > 0 else b""
        except FileNotFoundError:
            return b""

    def times(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        """The pages of a log's index that cover `length` bytes from `offset` on; empty if it has no times."""
        return pages_of(f"{self._directory}/{_relative(attempt, stream, TIMES)}", offset, offset + length)

    def since(self, attempt: str, at: int, stream: str = "job") -> int | None:
        """The offset of a log's first byte that was read at this time (milliseconds since 1970) or later, if any."""
        return first_since(f"{self._directory}/{_relative(attempt, stream, TIMES)}", at)


def _relative(attempt: str, stream: str, kind: str = LOG) -> str:
    matched = ATTEMPT_ID.fullmatch(attempt)
    if not matched or not STREAM.fullmatch(stream):
        raise ProtocolError("bad_field", f"bad log name {attempt[:100]!r} {stream[:100]!r}")
    return f"{int(matched['job']) // FILES_PER_DIRECTORY}/{attempt}.{stream}.{kind}"


def _write(descriptor: int, pieces: list[Bytes], at: int) -> int:
    wanted = sum(map(len, pieces))
    written = os.pwritev(descriptor, pieces, at)
    if written < wanted:  # the disk is nearly full: write the rest, or raise the error
        rest = memoryview(b"".join(pieces))
        while written < wanted:
            written += os.pwrite(descriptor, rest[written:], at + written)
    return wanted
