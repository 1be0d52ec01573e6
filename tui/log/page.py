"""One page of a log: a fixed byte range, its line starts, and its row counts. Pure.

A line belongs to the page that it starts in. A page is unknown (rows are estimated), loaded, or unloaded (counts are
kept, bytes are fetched again on demand).
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from rich.cells import cell_len

from protocol.display import SECTION
from tui.log.text import MAX_LINE_BYTES, plain

PAGE_BYTES = 256 << 10
COLOR = re.compile(rb"\x1b\[([0-9;:]*)m")
RESET = re.compile(rb"(?:^|;)0*$|^0*$")
MAX_CARRIED = 256
"""Bytes of colour sequences carried from line to line; a log that accumulates more starts over."""
NEWLINE = 10

Layout = tuple[int, tuple[tuple[int, int], ...]]
"""Parameters of the layout: the wrap width (0: no wrapping), and the ranges of hidden lines."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A section marker in line `line` of its page. `bare`: the line has no other content."""

    line: int
    start: bool
    at: int
    name: str
    collapsed: bool
    title: str
    bare: bool


class Page:
    """Bytes `index * PAGE_BYTES` onwards of a log; see the module for its states."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.data: bytearray | None = None
        self.after_newline = index == 0  # whether the byte before this page is a newline
        self.starts: array[int] = array("I")  # line starts, relative to the page
        self.markers: list[Marker] = []
        self.line_count = 0
        self.counted = False  # line_count and markers are known
        self.row_count = 0
        self._row_ends: array[int] | None = None  # cumulative rows per line; None: one row per line
        self._layout: Layout | None = None
        self._carried_lines: list[int] = []  # first lines at which ...
        self._carried: list[str] = []  # ... these colour sequences are in effect
        self._in_force = b""
        self._continuation = b""  # continuation of the page's last line in the next page

    @property
    def offset(self) -> int:
        """The page's first byte in the log."""
        return self.index * PAGE_BYTES

    def load(self, data: bytes, after_newline: bool, carried: str) -> None:
        """Loads the page's known bytes, from its first one on."""
        self.data = bytearray()
        self.after_newline = after_newline
        self.starts = array("I")
        self.markers = []
        self._layout = None
        self._carried_lines, self._carried, self._in_force = [-1], [carried], carried.encode()
        self.extend(data)

    def extend(self, data: bytes | memoryview) -> None:
        """Appends bytes after the known ones."""
        assert self.data is not None
        old = len(self.data)
        old_lines = len(self.starts)
        if data and (self.data[-1] == NEWLINE if self.data else self.after_newline):
            self.starts.append(old)
        self.data += data
        position = self.data.find(b"\n", old)
        last = len(self.data) - 1
        while 0 <= position < last:
            self.starts.append(position + 1)
            position = self.data.find(b"\n", position + 1)
        self.line_count = len(self.starts)
        self.counted = True
        rescan = self.starts[old_lines - 1] if old_lines else 0  # the last line has grown, with all it contains
        self._find_markers(max(0, old_lines - 1), rescan)
        self._find_colors(self._open_sequence(old))
        if self._layout is not None:
            self._lay_out_from(max(0, old_lines - 1))
        else:
            self.row_count = self.line_count

    def continue_last_line(self, head: bytes) -> None:
        """Adds the continuation of this page's last line from the next page."""
        head = head[:MAX_LINE_BYTES]
        if head != self._continuation:
            self._continuation = head
            if self._layout is not None and self.starts:
                self._lay_out_from(len(self.starts) - 1)

    def unload(self) -> None:
        """Drops the bytes and keeps the counts."""
        self.data = None
        self.starts = array("I")
        self._row_ends = None
        self._layout = None
        self._carried_lines, self._carried = [], []

    @property
    def carried_out(self) -> str:
        """The colour sequences in effect at the page's end."""
        return self._in_force.decode("ascii", "ignore")

    def carried_into(self, line: int) -> str:
        """The colour sequences in effect at the start of a line."""
        return self._carried[bisect_right(self._carried_lines, line) - 1] if self._carried else ""

    def line_bytes(self, line: int) -> bytes:
        """A line's bytes without its newline, truncated to `MAX_LINE_BYTES`."""
        assert self.data is not None
        start = self.starts[line]
        if line + 1 < len(self.starts):
            return bytes(self.data[start : min(self.starts[line + 1] - 1, start + MAX_LINE_BYTES)])
        piece = self.data[start : start + MAX_LINE_BYTES]
        return bytes(piece + self._continuation).rstrip(b"\n")[:MAX_LINE_BYTES]

    def head(self) -> bytes:
        """The bytes before the page's first line, which belong to a line of an earlier page."""
        assert self.data is not None
        return bytes(self.data[: self.starts[0] if self.starts else len(self.data)][:MAX_LINE_BYTES]).rstrip(b"\n")

    def line_at(self, position: int) -> int:
        """The line that contains a byte of the page; -1 for the end of an earlier page's line."""
        return bisect_right(self.starts, position) - 1

    # rows

    def is_laid_out(self, layout: Layout) -> bool:
        """Whether `row_count` matches a layout."""
        return self.data is not None and self._layout == layout

    def lay_out(self, layout: Layout) -> None:
        """Counts rows for a layout; requires the page's bytes."""
        self._layout = layout
        self._row_ends = None
        self._lay_out_from(0)

    def _lay_out_from(self, first: int) -> None:
        assert self._layout is not None
        width, hidden = self._layout
        if not width and not hidden:
            self.row_count = len(self.starts)
            return
        ends = self._row_ends[:first] if self._row_ends is not None else array("I")
        first = len(ends)
        needed = self._rows_needed(first, width) if width else [1] * (len(self.starts) - first)
        for begin, end in hidden:
            for line in range(max(begin, first), min(end + 1, len(self.starts))):
                needed[line - first] = 0
        ends.extend(accumulate(needed, initial=ends[-1] if ends else 0))
        del ends[first]  # the initial value of accumulate
        self._row_ends = ends
        self.row_count = ends[-1] if ends else 0

    def _rows_needed(self, first: int, width: int) -> list[int]:
        """Rows of each wrapped line from `first` on."""
        text = self.text(first)
        lines = text.split("\n") if first < len(self.starts) else []
        count = len if text.isascii() else cell_len
        return [max(1, -(-min(count(line), MAX_LINE_BYTES) // width)) for line in lines]

    def text(self, first: int = 0) -> str:
        """The plain text of the complete lines from `first` on, joined by newlines."""
        assert self.data is not None
        if first >= len(self.starts):
            return ""
        body = bytes(self.data[self.starts[first] : self.starts[-1]])
        return plain(body + self.line_bytes(len(self.starts) - 1))

    def line_of_row(self, row: int) -> tuple[int, int]:
        """The line shown in a row of the page, and the row's number within that line."""
        if self._row_ends is None:
            return row, 0
        line = bisect_right(self._row_ends, row)
        return line, row - (self._row_ends[line - 1] if line else 0)

    def row_of_line(self, line: int) -> int:
        """The first row of a line; for a hidden one, the row of the next visible content."""
        if self._row_ends is None:
            return min(line, self.row_count)
        return self._row_ends[line - 1] if 0 < line <= len(self._row_ends) else 0

    # parsing

    def _find_markers(self, from_line: int, from_byte: int) -> None:
        assert self.data is not None
        self.markers = [marker for marker in self.markers if marker.line < from_line]
        if self.data.find(b"section_", from_byte) < 0:
            return
        for match in SECTION.finditer(self.data[from_byte:].decode("latin-1")):
            line = self.line_at(from_byte + match.start())
            if line < 0:
                continue
            kind, at, name, options = match.groups()
            name = name.encode("latin-1").decode("utf-8", "replace")
            title = plain(self.line_bytes(line)).strip()
            self.markers.append(
                Marker(
                    line=line,
                    start=kind == "start",
                    at=int(at),
                    name=name,
                    collapsed="collapsed=true" in (options or ""),
                    title=title or name,
                    bare=not title,
                )
            )

    def _open_sequence(self, old: int) -> int:
        """Where to resume scanning for colours: a sequence split across two chunks starts before the new bytes."""
        assert self.data is not None
        escape = self.data.rfind(b"\x1b", max(0, old - MAX_CARRIED), old)
        match = COLOR.match(self.data, escape) if escape >= 0 else None
        return escape if match is not None and match.end() > old else old

    def _find_colors(self, from_byte: int) -> None:
        assert self.data is not None
        if self.data.find(b"\x1b", from_byte) < 0:
            return
        for match in COLOR.finditer(self.data, from_byte):
            self._in_force = b"" if RESET.search(match[1]) else self._in_force + match[0]
            if len(self._in_force) > MAX_CARRIED:
                self._in_force = match[0]
            line = self.line_at(match.start()) + 1
            carried = self._in_force.decode("ascii")
            if self._carried_lines[-1] == line:
                self._carried[-1] = carried
            elif self._carried[-1] != carried:
                self._carried_lines.append(line)
                self._carried.append(carried)
