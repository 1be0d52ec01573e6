"""Writes job output to a terminal or a file in whole lines, prefixed with the job's name. Knows no sockets.

A file gets every byte. A terminal gets text and colours: see `protocol.display`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Protocol

from protocol.display import TerminalLines, clean
from protocol.log_lines import LONGEST_LINE, Line
from protocol.log_times import stamp

COLORS = (36, 35, 34, 33, 32, 96, 95, 94, 93, 92)
"""ANSI foreground colours assigned to jobs in turn; red is reserved for failures."""
LONGEST_NAME = 30
"""Maximum width of a job's name before its lines on a terminal; a longer name is shortened in the middle."""
ECHO = re.compile(rb"^(\$ [^\n]*)", re.MULTILINE)
"""A command that a job's shell echoed before running it."""


UNKNOWN = b"-".ljust(len(stamp(0)))
"""Printed in place of an unknown time."""


class Sink(Protocol):
    """Destination of lines: a binary stream, or a layer above one."""

    def write(self, data: bytes, /) -> object:
        """Takes whole lines."""

    def flush(self) -> None:
        """Called after each write."""


class TerminalLog:
    """Writes one job's log to a terminal as it arrives, in whole sanitized lines."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self._lines = TerminalLines()
        self._partial = b""

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes of the log."""
        *whole, self._partial = (self._partial + bytes(data)).split(b"\n")
        if len(self._partial) > LONGEST_LINE:
            whole, self._partial = [*whole, self._partial], b""
        if whole:
            self._stream.write(b"".join(self._lines.line(line) + b"\n" for line in whole))
            self._stream.flush()

    def end(self) -> None:
        """End of the log, or of its current content: the last line is printed even if unfinished."""
        if self._partial:
            self.write(b"\n")


class JobOutput:
    """Prints several jobs' logs as they arrive, never mixing two jobs in one line.

    With `colors`, for a terminal: names are coloured per job and shortened, echoed commands are highlighted, and logs
    are sanitized unless `raw`. `names` are the jobs known from the start; those of child runs come later.
    """

    def __init__(self, stream: Sink, names: list[str], *, colors: bool, raw: bool = False) -> None:
        self._stream = stream
        self._colors = colors
        self._shown_lines: dict[str, TerminalLines] | None = {} if colors and not raw else None
        self._width = max((columns(self._shown(name)) for name in names), default=0)
        self._partial: dict[str, bytes] = {}
        self._prefixes: dict[str, bytes] = {}
        for name in names:
            self._prefix(name)

    def _shown(self, name: str) -> str:
        name = clean(name)
        if not self._colors or len(name) <= LONGEST_NAME:
            return name
        half = (LONGEST_NAME - 1) // 2
        return f"{name[: LONGEST_NAME - 1 - half]}…{name[-half:]}"

    def _prefix(self, name: str) -> bytes:
        """What begins the lines of a job; made at its first use."""
        if (known := self._prefixes.get(name)) is not None:
            return known
        number, shown = len(self._prefixes), self._shown(name)
        self._width = max(self._width, columns(shown))
        padded = shown + " " * (self._width - columns(shown)) + " |"
        if self._colors:
            padded = f"\x1b[{COLORS[number % len(COLORS)]}m{padded}\x1b[0m"
        self._prefixes[name] = padded.encode() + b" "
        return self._prefixes[name]

    def log(self, job: str, data: bytes | memoryview) -> None:
        """Takes the next bytes of a job's log; an unfinished line is held back."""
        whole, newline, rest = (self._partial.pop(job, b"") + bytes(data)).rpartition(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        if rest:
            self._partial[job] = rest
        if newline:
            self._print(job, whole)

    def lines(self, job: str, lines: Iterable[Line], *, times: bool) -> None:
        """Prints whole lines of a job's log, each after its time if `times`."""
        for line in lines:
            self._print(job, line.text, time_of(line) + b" " if times else b"")

    def end(self, job: str) -> None:
        """End of a job's log: its last line is printed even if unfinished."""
        if rest := self._partial.pop(job, b""):
            self._print(job, rest)

    def note(self, job: str, text: str, *, bad: bool = False) -> None:
        """Prints a line of ours about a job, between lines of its log."""
        line = clean(text).encode()
        if self._colors:
            line = (b"\x1b[1;31m" if bad else b"\x1b[1m") + line + b"\x1b[0m"
        self._write(self._prefix(job) + line + b"\n")

    def _print(self, job: str, lines: bytes, stamp: bytes = b"") -> None:
        if self._shown_lines is not None:
            shown = self._shown_lines.setdefault(job, TerminalLines())
            lines = b"\n".join([shown.line(line) for line in lines.split(b"\n")])
        if self._colors:
            lines = ECHO.sub(b"\x1b[1;32m\\1\x1b[0m", lines)
        prefix = self._prefix(job) + stamp
        self._write(prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n")

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._stream.flush()


def time_of(line: Line) -> bytes:
    """A line's time by RFC 3339, or as many blanks after a dash."""
    return UNKNOWN if line.at is None else stamp(line.at).encode()


def columns(text: str) -> int:
    """Width of `text` in terminal columns: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
