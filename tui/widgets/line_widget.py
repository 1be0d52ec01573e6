"""Base of all widgets that draw line by line: painted spans, vi keys, visible lines only."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.presentation.spans import LINK, Spans

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
        """Clears cached colours when the theme changes."""
        super().notify_style_update()
        self._paints.clear()

    def paint(self, name: str) -> Style:
        """The style of a paint, without a background unless that is its purpose."""
        if not name:
            return self.rich_style
        style = self._paints.get(name)
        if style is None and name.startswith(LINK):
            style = self._paints[name] = self.paint("accent") + Style(underline=True, link=name.removeprefix(LINK))
        if style is None:
            component = f"paint--{name}"
            style = self.get_component_rich_style(component)
            if not self.get_component_styles(component).has_rule("background"):
                style = Style(color=style.color, bold=style.bold, underline=style.underline)
            self._paints[name] = style
        return style

    def strip(self, spans: Spans, width: int, over: Style | None = None) -> Strip:
        """A line of exactly `width` cells. `over` is a style applied to all of it: the cursor."""
        base = self.rich_style
        segments = [Segment(text, base + self.paint(paint) if paint else base) for text, paint in spans if text]
        if over is not None:
            segments = list(Segment.apply_style(segments, post_style=over))
        return Strip(segments).adjust_cell_length(width, base if over is None else base + over)
