"""The lines of a log, each with the time at which its first byte was read. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from protocol.display import COLOR, UNCOLORED
from protocol.log_times import LogPiece, Mark
from protocol.regular_expressions import compile_regex

LONGEST_LINE = 1 << 20
"""A longer line counts as several, to bound its memory."""


class Line(NamedTuple):
    """A line of a log, without its newline. `at` is in milliseconds since 1970; None: unknown."""

    offset: int
    at: int | None
    text: bytes


ESCAPES = re.compile(f"{UNCOLORED.pattern}|{COLOR.pattern}".encode("latin-1"))


class LinePattern:
    """Selects lines by a regular expression, as `grep` does: in their text, without colours. Empty: every line."""

    def __init__(self, pattern: str) -> None:
        """Raises BadPattern."""
        self._program: Any = compile_regex(pattern, "m", within_lines=True) if pattern else None

    def matches(self, text: bytes) -> bool:
        """Whether a line, given without its newline, matches."""
        return self._program is None or self._program.search(_visible(text)) is not None

    def select(self, lines: bytes) -> Iterator[int]:
        """Yields the numbers of the matching lines, from 0; of a text that ends with a newline, or without its last."""
        if self._program is None:
            yield from range(lines.count(b"\n") + (not lines.endswith(b"\n")))
            return
        text = _visible(lines)
        number = counted = 0
        start = 0
        while start < len(text) and (found := self._program.search(text, start)) is not None:
            number += text.count(b"\n", counted, found.start())
            if found.start() == len(text) and text.endswith(b"\n"):
                return
            yield number
            counted = found.start()
            start = text.find(b"\n", found.end()) + 1
            if not start:
                return


def _visible(text: bytes) -> bytes:
    """The text without escape sequences, as valid UTF-8."""
    if b"\x1b" in text:
        text = ESCAPES.sub(b"", text)
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode(errors="replace").encode()
    return text


class LineCutter:
    """Cuts consecutive pieces of one log into lines, and keeps an unfinished one until the rest of it arrives."""

    def __init__(self) -> None:
        self._partial = b""
        self._starts = 0  # the offset of the unfinished line
        self._at: int | None = None  # its time

    def take(self, piece: LogPiece) -> list[Line]:
        """The lines that end in a piece. One that does not continue the piece before begins another log."""
        lines = [] if piece.offset == self._starts + len(self._partial) else self.end()
        if not self._partial:
            self._starts = piece.offset
        at = times_at(piece.marks, self._at)
        if not self._partial:
            self._at = at(self._starts)
        *whole, rest = (self._partial + bytes(piece.data)).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        for text in whole:
            lines.append(Line(self._starts, self._at, text))
            self._starts = min(self._starts + len(text) + 1, piece.end)
            self._at = at(self._starts)
        self._partial = rest
        return lines

    def end(self) -> list[Line]:
        """The unfinished line, if any: the log ends here."""
        lines = [Line(self._starts, self._at, self._partial)] if self._partial else []
        self._starts += len(self._partial)
        self._partial = b""
        return lines


def times_at(marks: Sequence[Mark], before: int | None = None) -> Callable[[int], int | None]:
    """The time of a byte by its offset; `before` is that of the bytes before the first mark."""

    def at(offset: int) -> int | None:
        found = bisect_right(marks, offset, key=_offset)
        return marks[found - 1].at if found else before

    return at


def _offset(mark: Mark) -> int:
    return mark.offset
