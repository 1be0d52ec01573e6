"""Searches a log page by page, so that a long search can pause between pages. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from tui.log.document import Position


class Search:
    """The lines that contain `query`; case-sensitive if it contains capitals."""

    def __init__(self, query: str) -> None:
        self.query = query
        flags = 0 if any(letter.isupper() for letter in query) else re.IGNORECASE
        self.pattern = re.compile(re.escape(query), flags)
        self.count = 0  # lines found so far
        self._found: dict[int, tuple[int, list[int]]] = {}  # by page: bytes searched, lines found

    def searched(self, index: int) -> int:
        """Bytes of a page already searched; -1: none."""
        return self._found[index][0] if index in self._found else -1

    def take(self, index: int, length: int, text: str) -> None:
        """Searches the text of a page's lines; `length` is the number of bytes known of the page."""
        lines: list[int] = []
        if self.pattern.search(text):
            lines = [number for number, line in enumerate(text.split("\n")) if self.pattern.search(line)]
        self.count += len(lines) - len(self._found.get(index, (0, []))[1])
        self._found[index] = (length, lines)

    def next(self, after: Position | None, *, backwards: bool = False) -> Position | None:
        """The nearest match after (or before) a line, wrapping around at the end."""
        pages = sorted(index for index, (_, lines) in self._found.items() if lines)
        if not pages:
            return None
        if after is None:
            after = Position(pages[-1] + 1, 0) if backwards else Position(-1, 0)
        if after.page in self._found:
            lines = self._found[after.page][1]
            at = bisect_left(lines, after.line) - 1 if backwards else bisect_right(lines, after.line)
            if 0 <= at < len(lines):
                return Position(after.page, lines[at])
        if backwards:
            page = pages[bisect_left(pages, after.page) - 1]
            return Position(page, self._found[page][1][-1])
        page = pages[bisect_right(pages, after.page) % len(pages)]
        return Position(page, self._found[page][1][0])

    def ordinal(self, position: Position) -> int | None:
        """A match's number, from 1, among those found so far."""
        if position.page not in self._found:
            return None
        lines = self._found[position.page][1]
        at = bisect_left(lines, position.line)
        if at == len(lines) or lines[at] != position.line:
            return None
        return at + 1 + sum(len(found) for page, (_, found) in self._found.items() if page < position.page)
