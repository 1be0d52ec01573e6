"""The key bar at the bottom: every key of the screen and its action, on as many lines as necessary."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

MOST_LINES = 4
EVERYWHERE = ("back", "app.help", "app.quit")
"""Actions listed last, in this order."""
GAP = 2
TOASTS = "#textual-toastrack"
"""Selector of Textual's notifications."""


class Entry(NamedTuple):
    """A key: its name, its display form, its description, its action, and whether that applies now."""

    key: str
    shown: str
    does: str
    action: str
    applies: bool


@runtime_checkable
class Discerning(Protocol):
    """A screen that knows which of its keys apply at present."""

    def applies(self, action: str) -> bool:
        """Whether an action has an effect now; otherwise it explains why when invoked."""


class KeyBar(Widget):
    """Like Textual's Footer, but wraps instead of scrolling; a click presses the key.

    Keys that do not apply at present are dimmed in place, so that nothing moves. Notifications do not cover it.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom;
        height: auto;
        max-height: 4;
        padding: 0 1;
        background: $panel;
        color: $foreground;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[Entry] = []

    def on_mount(self) -> None:
        """Subscribes to changes of the bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.refresh(layout=True)

    def sync(self) -> None:
        """Updates which keys apply."""
        if self.is_attached and self._shown != keys_of(self.screen):
            self.refresh(layout=True)

    def _lines(self, width: int) -> list[list[Entry]]:
        lines: list[list[Entry]] = [[]]
        used = 0
        for entry in keys_of(self.screen):
            cells = _cells(entry)
            if used + cells > width and lines[-1]:
                lines.append([])
                used = 0
            lines[-1].append(entry)
            used += cells + GAP
        return lines[:MOST_LINES]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The number of lines that the keys need."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The keys with their actions."""
        self._shown = keys_of(self.screen)
        lines = [Content(" " * GAP).join(map(_drawn, entries)) for entries in self._lines(self.content_size.width)]
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        """Presses the key that was clicked."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        lines = self._lines(self.content_size.width)
        x = 0
        for entry in lines[offset.y] if offset.y < len(lines) else []:
            if x <= offset.x < x + _cells(entry):
                self.app.simulate_key(entry.key)
                return
            x += _cells(entry) + GAP

    def on_resize(self, _event: events.Resize) -> None:
        """Re-wraps, and keeps notifications above itself."""
        for toasts in self.screen.query(TOASTS):
            toasts.styles.margin = (0, 0, self.outer_size.height, 0)
        self.refresh(layout=True)


def keys_of(screen: Screen[Any]) -> list[Entry]:
    """The keys of a screen at present, each action once; global ones come last."""
    found: dict[str, Entry] = {}
    typing = isinstance(screen.focused, Input)  # letters are then text
    for node, binding, enabled, _ in screen.active_bindings.values():
        if binding.show and enabled and binding.action not in found and not (typing and node is screen):
            applies = not isinstance(screen, Discerning) or screen.applies(binding.action)
            found[binding.action] = Entry(
                binding.key, screen.app.get_key_display(binding), binding.description, binding.action, applies
            )
    last = [found.pop(action) for action in EVERYWHERE if action in found]
    return [*found.values(), *last]


def _drawn(entry: Entry) -> Content:
    if not entry.applies:
        return Content.styled(f"{entry.shown} {entry.does}", "$foreground 40%")
    return Content.assemble((entry.shown, "bold $text-accent"), f" {entry.does}")


def _cells(entry: Entry) -> int:
    return cell_len(entry.shown) + 1 + cell_len(entry.does)
