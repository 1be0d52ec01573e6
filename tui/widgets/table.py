"""A table of any number of rows that formats only visible ones, and drops columns when narrow."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from tui.presentation.spans import Span, Spans, fit, fit_spans
from tui.widgets.line_widget import LineWidget

R = TypeVar("R")
GAP = 2
MARGIN = 2
"""Cells at the left for the cursor's mark, which shows the cursor without colour."""


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """A column. `cell` returns a row's spans from the row and the time.

    A fixed column has `width` cells; a flexible one at least that, plus a share of the rest. If space is short, the
    column with the highest `rank` is dropped first; rank 0 stays.
    """

    title: str
    cell: Callable[[R, float], Spans]
    width: int
    flex: int = 0
    rank: int = 0
    right: bool = False


class Table(LineWidget, Generic[R]):
    """Rows to navigate and open. The cursor stays on its row's key when rows come and go.

    With `stays_on_top`, a cursor on the first row stays there instead: for lists read from the newest entry on.
    """

    class Opened(Message):
        """A row was chosen with Enter or a second click."""

        def __init__(self, table: Table[Any], key: Hashable) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> Table[Any]:
            """The table that sent it."""
            return self.table

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, table: Table[Any], key: Hashable | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> Table[Any]:
            """The table that sent it."""
            return self.table

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    def __init__(
        self,
        columns: Sequence[Column[R]],
        key: Callable[[R], Hashable],
        *,
        empty: str = "",
        stays_on_top: bool = False,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.empty = empty
        self._stays_on_top = stays_on_top
        self._columns = columns
        self._key = key
        self._rows: Sequence[R] = ()
        self._index: dict[Hashable, int] = {}
        self._cursor = 0
        self._now = 0.0
        self._widths: tuple[int, list[tuple[Column[R], int]]] = (-1, [])  # columns that fit, at a width

    # rows

    def show(self, rows: Sequence[R], now: float) -> None:
        """Shows these rows as of `now`."""
        at = self.key_at_cursor
        if rows is not self._rows:
            self._rows = rows
            self._index = {self._key(row): number for number, row in enumerate(rows)}
        self._now = now
        was = self._cursor
        if at is None or (was == 0 and self._stays_on_top):
            followed = 0
        else:
            followed = self._index.get(at, min(was, max(0, len(rows) - 1)))
        size = Size(0, len(rows) + 1)
        if self.virtual_size != size:
            self.virtual_size = size
        if followed != was:
            self._cursor = followed
            if self.scroll_offset.y > 0:
                self.scroll_relative(y=followed - was, animate=False)
            elif was < self.scrollable_size.height - 1:  # it was visible, and stays so
                self._scroll_to_cursor()
        if self.key_at_cursor != at:
            self.post_message(self.Moved(self, self.key_at_cursor))
        self.refresh()

    @property
    def rows(self) -> Sequence[R]:
        """The current rows, on screen or not."""
        return self._rows

    @property
    def key_at_cursor(self) -> Hashable | None:
        """The key of the row under the cursor."""
        return self._key(self._rows[self._cursor]) if self._cursor < len(self._rows) else None

    @property
    def row_at_cursor(self) -> R | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    def select(self, key: Hashable) -> None:
        """Puts the cursor on a row, if it exists."""
        if (number := self._index.get(key)) is not None:
            self._move(number)

    # movement

    def _move(self, number: int) -> None:
        number = max(0, min(number, len(self._rows) - 1))
        if number == self._cursor or not self._rows:
            return
        self._cursor = number
        self._scroll_to_cursor()
        self.post_message(self.Moved(self, self.key_at_cursor))
        self.refresh()

    def _scroll_to_cursor(self) -> None:
        self.scroll_to_region(Region(0, self._cursor, 1, 2), animate=False, force=True, x_axis=False)

    @property
    def _page(self) -> int:
        return max(1, self.scrollable_size.height - 2)

    def action_down(self) -> None:
        """Next row."""
        self._move(self._cursor + 1)

    def action_up(self) -> None:
        """Previous row."""
        self._move(self._cursor - 1)

    def action_page_down(self) -> None:
        """A screen down."""
        self._move(self._cursor + self._page)

    def action_page_up(self) -> None:
        """A screen up."""
        self._move(self._cursor - self._page)

    def action_top(self) -> None:
        """First row."""
        self._move(0)

    def action_bottom(self) -> None:
        """Last row."""
        self._move(len(self._rows) - 1)

    def action_open(self) -> None:
        """Opens the row under the cursor."""
        if (key := self.key_at_cursor) is not None:
            self.post_message(self.Opened(self, key))

    def on_click(self, event: events.Click) -> None:
        """Selects a row, or opens the selected one."""
        number = self.scroll_offset.y + event.y - 1
        if event.y < 1 or number >= len(self._rows):
            return
        if number == self._cursor:
            self.action_open()
        else:
            self._move(number)

    # drawing

    def _columns_at(self, width: int) -> list[tuple[Column[R], int]]:
        """The columns that fit, and their widths."""
        if self._widths[0] != width:
            self._widths = (width, self._choose_widths(width))
        return self._widths[1]

    def _choose_widths(self, width: int) -> list[tuple[Column[R], int]]:
        columns = list(self._columns)

        def needed() -> int:
            return MARGIN + sum(column.width for column in columns) + GAP * (len(columns) - 1)

        while needed() > width and any(column.rank for column in columns):
            columns.remove(max(columns, key=lambda column: column.rank))
        left = max(0, width - needed())
        shares = sum(column.flex for column in columns)
        return [(column, column.width + (left * column.flex // shares if shares else 0)) for column in columns]

    def render_line(self, y: int) -> Strip:
        """The heading, a row, or nothing."""
        width = self.scrollable_size.width
        if y == 0:
            spans: list[Span] = [(" " * MARGIN, "")]
            for column, cells in self._columns_at(width):
                title = column.title.rjust(cells) if column.right else column.title
                spans += [(fit(title, cells), "heading"), (" " * GAP, "")]
            return self.strip(spans, width)
        number = self.scroll_offset.y + y - 1
        if number >= len(self._rows):
            message = self.empty if not self._rows and y == 2 else ""
            return self.strip([(" " * MARGIN + message, "muted")], width)
        here = number == self._cursor
        spans = [("❯ " if here else "  ", "")]
        for column, cells in self._columns_at(width):
            spans += fit_spans(column.cell(self._rows[number], self._now), cells, right=column.right)
            spans.append((" " * GAP, ""))
        over = self.paint("cursor" if self.has_focus else "cursor-away") if here else None
        return self.strip(spans, width, over)
