"""Shows a `Document`: only visible rows are coloured, however long the log is."""

from __future__ import annotations

from typing import Protocol

from rich.cells import cell_len
from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from protocol.log_errors import COMMAND
from tui.log.document import Document, Place, Position, Section
from tui.log.search import Search
from tui.log.text import colored, plain
from tui.presentation.formatting import clock, duration
from tui.widgets.line_widget import LineWidget

TIME_CELLS = 17
NO_TIME = "   –"
"""Placeholder of an unknown time."""
SHOWN_GAP = 1.0
"""Seconds between two lines from which on the gap is shown."""
WIDEST_LINE = 16_384
AHEAD = 2
"""Screens before and after the visible one that are prefetched, so that scrolling meets no gap."""


class LineTimes(Protocol):
    """The times at which a log's bytes were read, in seconds since 1970; None: unknown."""

    def read_at(self, position: Position) -> float | None:
        """The time of a loaded line's first byte."""

    def last_read_at(self) -> float | None:
        """The time of the log's last byte."""


class LogView(LineWidget):
    """A scrollable log. Follows the end until the user scrolls up, and again once at the end.

    `t` shows the lines' times, of `times_of`. The view never fetches: it posts `Looked` with the visible rows, and
    `sync` is called after changes of the document.
    """

    class Looked(Message):
        """These rows are now visible, or nearly so."""

        def __init__(self, top: int, height: int) -> None:
            super().__init__()
            self.top = top
            self.height = height

    class Changed(Message):
        """Following, or another value of the status line, has changed."""

    DEFAULT_CSS = """
    LogView { overflow-y: scroll; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.document = Document()
        self.times_of: LineTimes | None = None
        self.empty = ""  # placeholder of an empty log
        self.following = True
        self.wrap = False
        self.times = False
        self.search: Search | None = None
        self.found: Position | None = None  # the match jumped to
        self._top = Position(0, 0)
        self._syncing = False
        self._shown_version = -1
        self._widest = 0
        self._strips: dict[Place, Strip] = {}

    # display

    def open(self, document: Document, times_of: LineTimes) -> None:
        """Shows another log, from its end."""
        self.document = document
        self.times_of = times_of
        self.following = True
        self.search = self.found = None
        self._widest = 0
        self._shown_version = -1
        self.sync()

    def sync(self) -> None:
        """Draws the document's changes; keeps the position, or the end while following."""
        document = self.document
        document.lay_out(self._text_width if self.wrap else 0, None if self.following else self._top)
        if document.version != self._shown_version:
            self._shown_version = document.version
            self._strips.clear()
        self._syncing = True
        try:
            width = self.scrollable_size.width if self.wrap else max(self._widest + self._gutter, 1)
            size = Size(width, document.rows)
            if size != self.virtual_size:
                self.virtual_size = size
            target = self.max_scroll_y if self.following else min(document.row(self._top), self.max_scroll_y)
            if round(self.scroll_y) != target:
                self.scroll_to(y=target, animate=False, force=True)
        finally:
            self._syncing = False
        self._tell()
        self.refresh()

    def repaint(self) -> None:
        """Redraws after a change of the search."""
        self._strips.clear()
        self.refresh()

    @property
    def _gutter(self) -> int:
        return TIME_CELLS if self.times else 0

    @property
    def _text_width(self) -> int:
        return max(1, self.scrollable_size.width - self._gutter)

    @property
    def top(self) -> Position:
        """The line at the top of the screen."""
        return self.document.place(round(self.scroll_y)).position if self.document.rows else Position(0, 0)

    @property
    def bottom(self) -> Position:
        """The last line on the screen."""
        return self.document.place(round(self.scroll_y) + self.scrollable_size.height - 1).position

    @property
    def place(self) -> Position:
        """The line in focus: the match, if visible, else the top line."""
        if self.found is not None:
            row = self.document.row(self.found) - round(self.scroll_y)
            if 0 <= row < self.scrollable_size.height:
                return self.found
        return self.top

    def _tell(self) -> None:
        height = max(1, self.scrollable_size.height)
        top = max(0, round(self.scroll_y) - AHEAD * height)
        self.post_message(self.Looked(top, round(self.scroll_y) + (1 + AHEAD) * height - top))

    # movement

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Records the position, and whether it is the end."""
        super().watch_scroll_y(old_value, new_value)
        if self._syncing or not self.document.rows:
            return
        page = self._top.page
        self._top = self.top
        following = round(new_value) >= self.max_scroll_y
        if following != self.following:
            self.following = following
            self.post_message(self.Changed())
        if self._top.page != page:
            self.sync()  # counts the rows of pages that came near
        self._tell()

    def on_resize(self, _event: events.Resize) -> None:
        """Re-wraps, and keeps the position."""
        self.sync()

    def follow(self, on: bool) -> None:
        """Starts or stops following the end."""
        self.following = on
        self._top = self.top
        self.sync()
        self.post_message(self.Changed())

    def go(self, position: Position) -> None:
        """Shows a line, with a few lines before it."""
        self.document.reveal(position)
        self.following = False
        before = max(0, self.document.row(position) - self.scrollable_size.height // 3)
        self._top = self.document.place(before).position
        self.sync()
        self.post_message(self.Changed())

    def _scroll(self, rows: int) -> None:
        self.scroll_to(y=max(0, min(self.scroll_y + rows, self.max_scroll_y)), animate=False, force=True)

    def action_down(self) -> None:
        """One line down."""
        self._scroll(1)

    def action_up(self) -> None:
        """One line up."""
        self._scroll(-1)

    def action_page_down(self) -> None:
        """One screen down."""
        self._scroll(max(1, self.scrollable_size.height - 1))

    def action_page_up(self) -> None:
        """One screen up."""
        self._scroll(-max(1, self.scrollable_size.height - 1))

    def action_top(self) -> None:
        """The first line."""
        self._scroll(-(1 << 40))

    def action_bottom(self) -> None:
        """The last line; starts following."""
        self.follow(True)

    def action_left(self) -> None:
        """Half a screen left."""
        self.scroll_to(x=max(0, self.scroll_x - self.scrollable_size.width // 2), animate=False, force=True)

    def action_right(self) -> None:
        """Half a screen right."""
        self.scroll_to(
            x=min(self.max_scroll_x, self.scroll_x + self.scrollable_size.width // 2), animate=False, force=True
        )

    # sections

    def visible_section(self) -> Section | None:
        """The section whose header is the first on the screen, or else the one that contains the screen."""
        document = self.document
        top = round(self.scroll_y)
        for row in range(top, min(top + self.scrollable_size.height, document.rows)):
            if (section := document.section_at(document.place(row).position)) is not None:
                return section
        before = [section for section in document.sections if section.start <= self.top]
        return before[-1] if before else None

    def toggle_section(self, section: Section) -> None:
        """Toggles a section and keeps its header visible."""
        self.following = False
        self._top = min(self.top, section.start)
        self.document.fold([section], not self.document.is_folded(section))
        self.sync()

    def on_click(self, event: events.Click) -> None:
        """Toggles the section whose header was clicked."""
        row = round(self.scroll_y) + event.y
        if row < self.document.rows:
            place = self.document.place(row)
            if (section := self.document.section_at(place.position)) is not None:
                self.toggle_section(section)

    # drawing

    def render_line(self, y: int) -> Strip:
        """One row of the log."""
        width = self.scrollable_size.width
        row = round(self.scroll_y) + y
        document = self.document
        if row == document.rows == 0 and document.is_known:
            return self.strip([(f" {self.empty}", "muted")], width)
        if row >= document.rows:
            return Strip.blank(width, self.rich_style)
        place = document.place(row)
        if not place.known:
            return Strip.blank(width, self.rich_style)
        selection = self.text_selection
        strip = self._strips.get(place)
        if strip is None or selection is not None:
            strip = self._strips[place] = self._draw(place, row, selection)
        left = round(self.scroll_x)
        if strip.cell_length > self._widest + self._gutter:
            self._widest = min(strip.cell_length - self._gutter, WIDEST_LINE)
            if not self.wrap:
                self.call_later(self.sync)
        return strip.crop_extend(left, left + width, self.rich_style).apply_offsets(left, row)

    def _draw(self, place: Place, row: int, selection: Selection | None) -> Strip:
        document, position = self.document, place.position
        text = colored(document.line_bytes(position), document.carried_into(position), self.rich_style)
        section = document.section_at(position)
        if section is not None:
            arrow = "▸ " if document.is_folded(section) else "▾ "
            length = f"  {lasted}" if (lasted := self._lasted(section)) else ""
            text = Text.assemble((arrow, self.paint("section")), text, (length, self.paint("muted")))
            text.stylize(self.paint("section"))
        elif text.plain.startswith(COMMAND):
            text.stylize(self.paint("command"))
        if self.search is None:
            if position == self.found:
                text.stylize(self.paint("match-current"))
        else:
            match = self.paint("match-current" if position == self.found else "match")
            for found in self.search.pattern.finditer(text.plain):
                text.stylize(match, *found.span())
        if self.wrap:
            text = _part(text, place.part, self._text_width)
        if selection is not None and (span := selection.get_span(row)) is not None:
            first, last = span
            text.stylize(self.screen.get_component_rich_style("screen--selection"), first, last if last >= 0 else None)
        segments = list(text.render(self.app.console))
        if self.times:
            stamp = self._stamp(position) if place.part == 0 else ""
            segments.insert(0, Segment(stamp.ljust(TIME_CELLS), self.rich_style + self.paint("muted")))
        return Strip(Segment.apply_style(segments, self.rich_style))

    def _stamp(self, position: Position) -> str:
        """A line's time, and how long after the line before it came, if that is long."""
        at = self._time_of(position)
        before = self.document.line_before(position)
        since = None if before is None else self._time_of(before)
        if at is None:
            return NO_TIME
        gap = f" +{duration(at - since)}" if since is not None and at - since >= SHOWN_GAP else ""
        return clock(at) + gap

    def _time_of(self, position: Position) -> float | None:
        return None if self.times_of is None else self.times_of.read_at(position)

    def _lasted(self, section: Section) -> str:
        """How long a section took: by its markers; without an end marker, up to the log's last line."""
        if section.seconds is not None:
            return duration(section.seconds)
        begun = self._time_of(section.start)
        ended = None if self.times_of is None else self.times_of.last_read_at()
        if begun is None or ended is None:
            return ""
        return f"{duration(ended - begun)}{'' if self.document.complete else ' so far'}"

    @property
    def has_times(self) -> bool:
        """Whether the times of the lines on the screen are known."""
        return bool(self.document.rows) and self._time_of(self.bottom) is not None

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The text selected with the mouse, as far as it is loaded."""
        first = selection.start.y if selection.start else 0
        last = selection.end.y if selection.end else self.document.rows - 1
        rows = []
        for row in range(first, last + 1):
            place = self.document.place(row)
            rows.append(plain(self.document.line_bytes(place.position)) if place.known else "")
        return selection.extract("\n" * first + "\n".join(rows)), "\n"


def _part(text: Text, part: int, width: int) -> Text:
    """The `part`-th piece of a line broken every `width` cells, regardless of words."""
    if cell_len(text.plain) <= width:
        return text
    cuts, used = [], 0
    for at, letter in enumerate(text.plain):
        cells = cell_len(letter)
        if used + cells > width:
            cuts.append(at)
            used = 0
        used += cells
    pieces = text.divide(cuts)
    return pieces[part] if part < len(pieces) else Text("")
