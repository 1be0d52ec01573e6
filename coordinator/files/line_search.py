"""Finds lines of a stored log: from a line on or before it, since a time, by a pattern, a limited number of them.

One search reads a bounded part of the log, and says where the next one continues. It may run in any thread.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from protocol.log_lines import LONGEST_LINE, Line, LinePattern, times_at
from protocol.log_times import marks_of_pages

PIECE_BYTES = 256 << 10
"""Bytes searched at once: matching them keeps other threads waiting for a few milliseconds."""
SEARCHED_BYTES = 8 << 20
"""Bytes after which a search ends, to be continued."""
MOST_LINES = 10_000
MOST_LINE_BYTES = 1 << 20
"""Limits of what one search finds, unless a single line is longer."""

Read = Callable[[int, int], bytes]
"""Bytes by offset and length."""


class StoredLog(msgspec.Struct, frozen=True):
    """A log as it is stored: its bytes, the index pages of a part of them, and its size.

    `since` is the offset of the first byte that was read at a time or later; None: there is none. `whole`: an
    unfinished last line counts as a line.
    """

    read: Read
    times: Read
    since: Callable[[int], int | None]
    size: int
    whole: bool


class Search(msgspec.Struct, frozen=True):
    """What to look for: lines that match, that begin at `offset` or after it; `backwards`, those that end there.

    `since` is in milliseconds since 1970; `limit` is the number of lines wanted.
    """

    pattern: LinePattern
    offset: int
    backwards: bool = False
    since: int | None = None
    limit: int | None = None


class Found(msgspec.Struct, frozen=True):
    """The lines found, in the log's order. The search continues at `next`, unless it is `done`."""

    lines: list[Line]
    next: int
    done: bool


def find_lines(log: StoredLog, search: Search) -> Found:
    """Searches a part of a log. Raises OSError."""
    first = 0
    if search.since is not None:
        since = log.since(search.since)
        first = log.size if since is None else _line_from(log, since)
    if search.backwards:
        return _backwards(log, search, first, min(search.offset, log.size))
    return _forwards(log, search, max(first, search.offset))


def end_of_lines(log: StoredLog) -> int:
    """The offset after the last line that counts."""
    end = log.size
    while not log.whole and end > max(0, log.size - LONGEST_LINE):
        begin = max(0, end - PIECE_BYTES)
        if (newline := log.read(begin, end - begin).rfind(b"\n")) >= 0:
            return begin + newline + 1
        end = begin
    return end


def _line_from(log: StoredLog, offset: int) -> int:
    """The first line that begins at `offset` or after it."""
    at = max(0, offset - 1)
    while offset and at < log.size:
        piece = log.read(at, PIECE_BYTES)
        if (newline := piece.find(b"\n")) >= 0:
            return at + newline + 1
        at += len(piece) or log.size
    return min(at, log.size)


def _forwards(log: StoredLog, search: Search, start: int) -> Found:
    found: list[Line] = []
    end = end_of_lines(log)
    last = min(end, start + SEARCHED_BYTES)
    size = 0
    while start < last:
        length = PIECE_BYTES
        piece = log.read(start, min(length, end - start))
        while b"\n" not in piece and start + len(piece) < end and length < LONGEST_LINE:
            length *= 2
            piece = log.read(start, min(length, end - start))
        if start + len(piece) < end:
            piece = piece[: piece.rfind(b"\n") + 1 or len(piece)]
        for line in _lines(log, search.pattern, start, piece):
            found.append(line)
            size += len(line.text)
            if len(found) == search.limit or len(found) >= MOST_LINES or size >= MOST_LINE_BYTES:
                after = line.offset + len(line.text) + 1
                return Found(found, after, len(found) == search.limit or after >= end)
        start += len(piece)
    return Found(found, start, start >= end)


def _backwards(log: StoredLog, search: Search, first: int, end: int) -> Found:
    found: list[Line] = []
    last = max(first, end - SEARCHED_BYTES)
    size = 0
    while end > last:
        length = PIECE_BYTES
        begin, piece = _before(log, first, end, length)
        while begin > first and piece.find(b"\n", 0, -1) < 0 and length < LONGEST_LINE:
            length *= 2
            begin, piece = _before(log, first, end, length)
        if begin > first:
            cut = piece.find(b"\n", 0, -1) + 1
            begin, piece = begin + cut, piece[cut:]
        for line in reversed(_lines(log, search.pattern, begin, piece)):
            found.append(line)
            size += len(line.text)
            if len(found) == search.limit or len(found) >= MOST_LINES or size >= MOST_LINE_BYTES:
                return Found(found[::-1], line.offset, len(found) == search.limit or line.offset <= first)
        end = begin
    return Found(found[::-1], end, end <= first)


def _before(log: StoredLog, first: int, end: int, length: int) -> tuple[int, bytes]:
    begin = max(first, end - length)
    return begin, log.read(begin, end - begin)


def _lines(log: StoredLog, pattern: LinePattern, start: int, piece: bytes) -> list[Line]:
    """The matching lines of a piece, which begins and ends with a line."""
    numbers = list(pattern.select(piece))
    if not numbers:
        return []
    texts = piece.split(b"\n")
    starts = [start]
    for text in texts:
        starts.append(starts[-1] + len(text) + 1)
    first, last = starts[numbers[0]], starts[numbers[-1]]
    at = times_at(marks_of_pages(log.times(first, last + 1 - first)))
    return [Line(starts[number], at(starts[number]), texts[number]) for number in numbers]
