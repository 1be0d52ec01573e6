"""All keys and symbols, on one page."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.presentation.formatting import PASSED_WITH_WARNINGS, SIGNS, WARNING

MOVES = (
    ("↑ ↓ ← →, h j k l", "move"),
    ("page up/down, space", "a screen up or down"),
    ("g, G, home, end", "first, last"),
    ("enter, click", "open (a click selects, a second one opens)"),
    ("esc", "back; takes a filter or search away first"),
    ("1 2 3", "Runs, Workers, Feed"),
    ("ctrl+p", "command palette: all commands, and the theme"),
)


class HelpScreen(ModalScreen[None]):
    """Explains the keys of the screen behind it, and the symbols."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss(None)", "Close"),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, keys: list[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        """A scrollable text."""
        with VerticalScroll(classes="help"):
            yield Static(self._text())

    def on_mount(self) -> None:
        """Focuses the text."""
        self.query_one(VerticalScroll).focus()

    def action_scroll(self, rows: int) -> None:
        """Scrolls by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def _text(self) -> Content:
        parts: list[tuple[str, str] | str] = []

        def table(title: str, rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> None:
            parts.append((f"{title}\n", "bold $text-accent"))
            for key, does in rows:
                parts.extend(((f"  {key:<22}", "bold"), f"{does}\n"))
            parts.append("\n")

        table("Keys of this screen", self._keys)
        table("Moving about", MOVES)
        parts.append(("Signs\n", "bold $text-accent"))
        for sign in (*SIGNS.values(), WARNING, PASSED_WITH_WARNINGS):
            color = "$foreground 60%" if sign.color == "muted" else f"$text-{sign.color}"
            label = "success with warnings" if sign is PASSED_WITH_WARNINGS else sign.label
            parts.extend(((f"  {sign}", f"bold {color}"), f"  {label}\n"))
        parts.append(("  ◆   on the critical path: the chain of jobs that ends last\n", ""))
        parts.append(("  0:12/~0:30   time so far, and what the job took in earlier runs\n", ""))
        parts.append(("  █ success  ▓ failed  ▒ under way  ░ not run\n", ""))
        parts.append(("\nesc closes this\n", "$foreground 60%"))
        return Content.assemble(*parts)
