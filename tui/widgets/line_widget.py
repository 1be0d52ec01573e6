"""The base of all widgets that draw line by line: painted spans of text, vi keys, and nothing that is not visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.scroll_view import ScrollView
from textual.strip import Strip

Span = tuple[str, str]
"""A piece of text and the name of its paint ("" is the widget's own)."""
Spans = Sequence[Span]

PAINTS = (
    "success",
    "error",
    "warning",
    "primary",
    "secondary",
    "accent",
    "muted",
    "strong",
    "heading",
    "cursor",
    "cursor-away",
    "match",
    "match-current",
    "command",
    "section",
)


SHORTEST_BROKEN = 8
"""Cells from which on a name that is too long loses its middle instead of its end."""


class LineWidget(ScrollView, can_focus=True):
    """A scrolling widget whose lines are painted spans."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"paint--{name}" for name in PAINTS}
    DEFAULT_CSS = """
    LineWidget {
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        background: $surface;
        color: $foreground;
        .paint--success { color: $text-success; }
        .paint--error { color: $text-error; text-style: bold; }
        .paint--warning { color: $text-warning; }
        .paint--primary { color: $text-primary; }
        .paint--secondary { color: $text-secondary; }
        .paint--accent { color: $text-accent; }
        .paint--muted { color: $foreground 60%; }
        .paint--strong { text-style: bold; }
        .paint--heading { color: $foreground 60%; text-style: bold; }
        .paint--cursor { background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold; }
        .paint--cursor-away { background: $panel; text-style: bold; }
        .paint--match { background: $warning 40%; text-style: underline; }
        .paint--match-current { background: $warning; color: $background; text-style: bold; }
        .paint--command { color: $text-success; text-style: bold; }
        .paint--section { color: $text-accent; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "down", "Down", show=False),
        Binding("up,k", "up", "Up", show=False),
        Binding("left,h", "left", "Left", show=False),
        Binding("right,l", "right", "Right", show=False),
        Binding("pagedown,ctrl+f,space", "page_down", "Page down", show=False),
        Binding("pageup,ctrl+b", "page_up", "Page up", show=False),
        Binding("home,g", "top", "Top", show=False),
        Binding("end,G", "bottom", "Bottom", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._paints: dict[str, Style] = {}

    def notify_style_update(self) -> None:
        """Forgets the theme's colours when it changes."""
        super().notify_style_update()
        self._paints.clear()

    def paint(self, name: str) -> Style:
        """The style of a paint, without a background of its own unless that is the point of it."""
        if not name:
            return self.rich_style
        style = self._paints.get(name)
        if style is None:
            component = f"paint--{name}"
            style = self.get_component_rich_style(component)
            if not self.get_component_styles(component).has_rule("background"):
                style = Style(color=style.color, bold=style.bold, underline=style.underline)
            self._paints[name] = style
        return style

    def strip(self, spans: Spans, width: int, over: Style | None = None) -> Strip:
        """A line of exactly `width` cells. `over` is laid over all of it: the cursor."""
        base = self.rich_style
        segments = [Segment(text, base + self.paint(paint) if paint else base) for text, paint in spans if text]
        if over is not None:
            segments = list(Segment.apply_style(segments, post_style=over))
        return Strip(segments).adjust_cell_length(width, base if over is None else base + over)


def fit(text: str, width: int) -> str:
    """The text in exactly `width` cells, with an ellipsis if it is too long."""
    if text.isascii():
        length = len(text)
        return text.ljust(width) if length <= width else text[: max(0, width - 1)] + "…"[:width]
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(text, max(0, width - 1)) + "…"[:width]


def fit_name(name: str, width: int) -> str:
    """A name in exactly `width` cells. What is too long loses its middle: names of a matrix differ in their ends."""
    if cell_len(name) <= width or width < SHORTEST_BROKEN:
        return fit(name, width)
    tail = ""
    for letter in reversed(name):
        if cell_len(letter + tail) > (width - 1) // 2:
            break
        tail = letter + tail
    return f"{set_cell_size(name, width - 1 - cell_len(tail))}…{tail}"


def fit_spans(spans: Spans, width: int, *, right: bool = False) -> list[Span]:
    """Spans in exactly `width` cells, the last visible one cut with an ellipsis if they are too long."""
    total = sum(cell_len(text) for text, _ in spans)
    if total <= width:
        gap = (" " * (width - total), "")
        return [gap, *spans] if right else [*spans, gap]
    fitted: list[Span] = []
    left = width
    for text, paint in spans:
        length = cell_len(text)
        if length >= left:
            fitted.append((fit(text, left) if length > left or total > width else text, paint))
            break
        fitted.append((text, paint))
        left -= length
    return fitted
