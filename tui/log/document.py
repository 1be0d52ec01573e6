"""A log as scrollable rows, of which only visited pages are loaded. Pure: fetches nothing.

The data source asks `wanted` for the pages to fetch and passes them to `load`; live bytes go to `append`. Row counts
of unknown pages are estimated, so persistent positions are (page, line) pairs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from protocol.log_errors import is_error
from tui.log.page import PAGE_BYTES, Layout, Marker, Page

KEPT_PAGES = 64
"""Number of cached pages: 16 MiB."""
RECENT_PIECE = 64 << 10
RECENT_PIECES = 16
"""Live bytes cached, in pieces, to complete a page fetched meanwhile: 1 MiB."""
GUESSED_LINE_BYTES = 80.0


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A line, by page and line number in that page."""

    page: int
    line: int


@dataclass(frozen=True, slots=True)
class Place:
    """Content of a row: part `part` of a line (wrapped lines have several). `known`: the page is loaded."""

    position: Position
    part: int
    known: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A collapsible section of the log, from header line to end; `end` is None while open or unknown."""

    start: Position
    end: Position | None
    name: str
    title: str
    seconds: int | None


class Document:
    """A log of `size` bytes that may still grow, laid out for a width."""

    def __init__(self) -> None:
        self.size = 0
        self.complete = False
        self.is_known = False  # whether its size is known, even if 0
        self.version = 0  # increases with every visible change
        self.sections: list[Section] = []
        self._pages: list[Page] = []
        self._loaded: OrderedDict[int, Page] = OrderedDict()  # least recently used first
        self._recent: deque[tuple[int, bytearray]] = deque()
        self._pinned = range(0)
        self._line_bytes = GUESSED_LINE_BYTES
        self._rows_per_line = 1.0  # with wrapped lines
        self._wrap = 0
        self._folded: set[Position] = set()
        self._unfolded: set[Position] = set()  # expanded by the user, although the log requests collapsed
        self._hidden: dict[int, tuple[tuple[int, int], ...]] = {}
        self._row_ends: list[int] | None = None

    # loading

    def set_size(self, size: int, complete: bool) -> None:
        """Sets the log's size; it never shrinks."""
        self.is_known = True
        self.complete = self.complete or complete
        self.size = max(self.size, size)
        while len(self._pages) * PAGE_BYTES < self.size:
            self._pages.append(Page(len(self._pages)))
        if self._pages and self._pages[-1].data is None:
            self._pages[-1].counted = False
        self._changed()

    def restart(self) -> None:
        """Discards all content: the log's bytes were replaced."""
        self.size = 0
        self.sections = []
        self._pages.clear()
        self._loaded.clear()
        self._recent.clear()
        self._hidden = {}
        self._changed()

    def append(self, offset: int, data: bytes) -> None:
        """Adds live bytes; a gap before them is fetched later."""
        self._remember(offset, data)
        end = offset + len(data)
        first = min(offset, self.size) // PAGE_BYTES
        self.set_size(end, False)
        for page in self._pages[first:]:
            if page.data is None and offset <= page.offset < end:
                self._begin_page(page)
            have = self._end_of(page.index)
            until = min(end, page.offset + PAGE_BYTES)
            if page.data is not None and offset <= have < until:
                page.extend(memoryview(data)[have - offset : until - offset])
                self._grown(page)
        self._changed()

    def load(self, index: int, data: bytes, byte_before: bytes) -> None:
        """Adds a fetched page. `byte_before` is the byte before it, empty for the first page."""
        page = self._pages[index]
        carried = self._pages[index - 1].carried_out if index else ""
        page.load(data, byte_before in (b"", b"\n"), carried)
        self._keep(page)
        self._complete_page(page)
        if index + 1 < len(self._pages) and self._pages[index + 1].data is not None:
            page.continue_last_line(self._pages[index + 1].head())
        self._learn_line_bytes()
        self._changed()

    def wanted(self, top: int, height: int) -> list[int]:
        """Pages to fetch to show the rows from `top` on; loaded ones among them become most recently used."""
        if not self._pages:
            return []
        first = self.place(top).position.page
        last = self.place(top + height).position.page
        self._pinned = range(first, last + 1)
        return [index for index in range(last, first - 1, -1) if not self.is_whole(index)]

    def is_whole(self, index: int) -> bool:
        """Whether a page is loaded as far as the log has bytes of it."""
        return self._pages[index].data is not None and self._end_of(index) == self.extent(index)[1]

    def extent(self, index: int) -> tuple[int, int]:
        """A page's byte range: its first byte, and the one after its last."""
        return index * PAGE_BYTES, min((index + 1) * PAGE_BYTES, self.size)

    @property
    def page_count(self) -> int:
        """Number of pages of the log."""
        return len(self._pages)

    def _end_of(self, index: int) -> int:
        page = self._pages[index]
        return page.offset + (len(page.data) if page.data is not None else 0)

    def _remember(self, offset: int, data: bytes) -> None:
        """Caches the newest live bytes, in few pieces."""
        if self._recent:
            start, piece = self._recent[-1]
            if start + len(piece) == offset and len(piece) < RECENT_PIECE:
                piece += data
                return
        self._recent.append((offset, bytearray(data)))
        if len(self._recent) > RECENT_PIECES:
            self._recent.popleft()

    def _begin_page(self, page: Page) -> None:
        """Starts a page from live bytes, if everything before it is known."""
        if page.index == 0:
            page.load(b"", True, "")
        else:
            before = self._pages[page.index - 1]
            if before.data is None or self._end_of(before.index) != page.offset:
                return
            page.load(b"", before.data[-1:] == b"\n", before.carried_out)
        self._keep(page)

    def _complete_page(self, page: Page) -> None:
        """Appends cached live bytes to a page fetched before they arrived."""
        for offset, data in self._recent:
            have = self._end_of(page.index)
            until = min(offset + len(data), page.offset + PAGE_BYTES)
            if offset <= have < until:
                page.extend(bytes(data[have - offset : until - offset]))
        self._grown(page)

    def _grown(self, page: Page) -> None:
        if page.index and self._pages[page.index - 1].data is not None:
            self._pages[page.index - 1].continue_last_line(page.head())
        self._find_sections(page.markers)

    def _keep(self, page: Page) -> None:
        self._loaded[page.index] = page
        self._loaded.move_to_end(page.index)
        for index in [index for index in self._loaded if index not in self._pinned]:
            if len(self._loaded) <= KEPT_PAGES:
                break
            self._loaded.pop(index).unload()

    def _learn_line_bytes(self) -> None:
        known = [page for page in self._loaded.values() if page.data and page.line_count]
        if known and self._line_bytes == GUESSED_LINE_BYTES:
            total = sum(len(page.data or b"") for page in known)
            self._line_bytes = max(1.0, total / sum(page.line_count for page in known))

    def _changed(self) -> None:
        self._row_ends = None
        self.version += 1

    # rows

    def lay_out(self, width: int, near: Position | None) -> None:
        """Sets the wrap width (0: no wrapping), and counts the rows near a position (None: the end).

        Rows of distant pages remain estimates until they come near.
        """
        if width != self._wrap:
            self._wrap = width
            self._changed()
        page = len(self._pages) - 1 if near is None else near.page
        for index in range(max(0, page - 1), min(page + 2, len(self._pages))):
            known = self._pages[index]
            if known.data is not None and not known.is_laid_out(self._layout_of(index)):
                known.lay_out(self._layout_of(index))
                if self._wrap and known.line_count:
                    self._rows_per_line = known.row_count / known.line_count
                self._row_ends = None

    @property
    def rows(self) -> int:
        """Total rows; an estimate while pages are unknown."""
        ends = self._ends()
        return ends[-1] if ends else 0

    @property
    def lines(self) -> tuple[int, bool]:
        """Total lines, and whether that is exact."""
        exact = all(page.counted for page in self._pages)
        return sum(page.line_count if page.counted else self._guess(page.index) for page in self._pages), exact

    def line_number(self, position: Position) -> int | None:
        """A line's number, from 1; None while earlier pages are unknown."""
        before = self._pages[: position.page]
        if not all(page.counted for page in before):
            return None
        return sum(page.line_count for page in before) + position.line + 1

    def place(self, row: int) -> Place:
        """The content of a row; rows beyond either end are clamped."""
        ends = self._ends()
        row = max(0, min(row, self.rows - 1))
        index = min(bisect_right(ends, row), len(ends) - 1)
        page = self._pages[index]
        within = row - (ends[index - 1] if index else 0)
        if not page.is_laid_out(self._layout_of(index)):
            lines = page.line_count if page.counted else self._guess(index)
            line = within * lines // max(1, self._rows_of(page))
            return Place(Position(index, line), 0, False)
        line, part = page.line_of_row(within)
        return Place(Position(index, min(line, max(0, page.line_count - 1))), part, page.line_count > 0)

    def row(self, position: Position) -> int:
        """The first row of a line."""
        ends = self._ends()
        if not ends:
            return 0
        page = self._pages[position.page]
        before = ends[position.page - 1] if position.page else 0
        if page.is_laid_out(self._layout_of(position.page)):
            return before + page.row_of_line(position.line)
        lines = page.line_count if page.counted else self._guess(position.page)
        rows = ends[position.page] - before
        return before + min(position.line * rows // max(1, lines), max(0, rows - 1))

    def line_before(self, position: Position) -> Position | None:
        """The line before one, if it is loaded."""
        if position.line:
            return Position(position.page, position.line - 1)
        if position.page and (before := self._pages[position.page - 1]).data is not None and before.line_count:
            return Position(before.index, before.line_count - 1)
        return None

    def line_bytes(self, position: Position) -> bytes:
        """A line of a loaded page."""
        page = self._pages[position.page]
        self._loaded.move_to_end(position.page)
        return page.line_bytes(position.line)

    def carried_into(self, position: Position) -> str:
        """The colour sequences in effect at the start of a line of a loaded page."""
        return self._pages[position.page].carried_into(position.line)

    def offset_of(self, position: Position) -> int:
        """The byte offset of a line of a loaded page."""
        page = self._pages[position.page]
        return page.offset + (page.starts[position.line] if position.line < len(page.starts) else 0)

    def _ends(self) -> list[int]:
        if self._row_ends is None:
            self._row_ends = list(accumulate(map(self._rows_of, self._pages)))
        return self._row_ends

    def _rows_of(self, page: Page) -> int:
        """A page's rows: counted, or estimated from its lines or its size."""
        layout = self._layout_of(page.index)
        if page.is_laid_out(layout):
            return page.row_count
        lines = page.line_count if page.counted else self._guess(page.index)
        shown = lines - sum(max(0, min(last + 1, lines) - first) for first, last in layout[1])
        return round(max(0, shown) * self._rows_per_line) if self._wrap else max(0, shown)

    def _layout_of(self, index: int) -> Layout:
        return self._wrap, self._hidden.get(index, ())

    def _guess(self, index: int) -> int:
        first, end = self.extent(index)
        return max(1, int((end - first) / self._line_bytes))

    # sections

    def section_at(self, position: Position) -> Section | None:
        """The section with this line as header."""
        at = bisect_left(self.sections, position, key=lambda section: section.start)
        if at < len(self.sections) and self.sections[at].start == position:
            return self.sections[at]
        return None

    def is_folded(self, section: Section) -> bool:
        """Whether the section is collapsed to its header."""
        return section.start in self._folded

    def fold(self, sections: Iterable[Section], folded: bool) -> None:
        """Folds or unfolds sections."""
        for section in sections:
            (self._folded.add if folded else self._folded.discard)(section.start)
            (self._unfolded.discard if folded else self._unfolded.add)(section.start)
        self._hide()

    def reveal(self, position: Position) -> None:
        """Expands the sections that hide a line."""
        hiding = [s for s in self.sections if s.start in self._folded and s.start < position <= self._last_of(s)]
        if hiding:
            self.fold(hiding, False)

    def _find_sections(self, new: list[Marker]) -> None:
        """Pairs all known markers; they are few."""
        if not new and not self.sections:
            return
        sections: list[Section] = []
        open_ones: list[tuple[Position, Marker]] = []
        for page in self._pages:
            for marker in page.markers:
                position = Position(page.index, marker.line)
                if marker.start:
                    open_ones.append((position, marker))
                    if marker.collapsed and position not in self._unfolded:
                        self._folded.add(position)
                    continue
                for at in range(len(open_ones) - 1, -1, -1):
                    start, begun = open_ones[at]
                    if begun.name == marker.name:
                        del open_ones[at:]
                        end = position if marker.bare else Position(position.page, position.line - 1)
                        seconds = max(0, marker.at - begun.at)
                        sections.append(Section(start, end, begun.name, begun.title, seconds))
                        break
        sections += [Section(start, None, begun.name, begun.title, None) for start, begun in open_ones]
        self.sections = sorted(sections, key=lambda section: section.start)
        self._hide()

    def _last_of(self, section: Section) -> Position:
        """A section's last line; of an open one, the last line known without a gap."""
        if section.end is not None:
            return section.end
        index = section.start.page
        while index + 1 < len(self._pages) and self._pages[index + 1].data is not None:
            index += 1
        return Position(index, self._pages[index].line_count)

    def _hide(self) -> None:
        """Computes the lines hidden by collapsed sections and bare end markers."""
        hidden: dict[int, list[tuple[int, int]]] = {}
        for page in self._pages:
            for marker in page.markers:
                if marker.bare and not marker.start:
                    hidden.setdefault(page.index, []).append((marker.line, marker.line))
        for section in self.sections:
            if section.start in self._folded:
                last = self._last_of(section)
                for index in range(section.start.page, last.page + 1):
                    first = section.start.line + 1 if index == section.start.page else 0
                    until = last.line if index == last.page else self._pages[index].line_count
                    hidden.setdefault(index, []).append((first, until))
        self._hidden = {index: tuple(ranges) for index, ranges in hidden.items()}
        self._changed()

    # searching

    def text_of(self, index: int) -> str:
        """The plain text of a loaded page's lines, for searching."""
        return self._pages[index].text()

    def first_error(self, index: int) -> Position | None:
        """The first line of a loaded page that looks like an error."""
        for line, text in enumerate(self.text_of(index).split("\n")):
            if is_error(text):
                return Position(index, line)
        return None
