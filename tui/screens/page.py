"""Base of all screens: the bars, the global keys, and the commands with their answers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from protocol.errors import LongshoreError
from tui.dashboard import Dashboard
from tui.presentation.formatting import plural
from tui.widgets.key_bar import KeyBar
from tui.widgets.top_bar import TopBar

GOOD_NEWS, BAD_NEWS = 3.0, 8.0
"""Seconds that a notification stays."""


class Page(Screen[None]):
    """A screen of the dashboard. `show` updates it from the model; the app calls it after changes, and once a second to
    advance times."""

    PAGE: ClassVar[str] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", key_display="esc"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q,ctrl+c", "app.quit", "Quit", key_display="q"),
    ]
    app: Dashboard

    def compose(self) -> ComposeResult:
        """The bars around the screen's own widgets."""
        yield TopBar()
        yield Static(id="problem", markup=False)
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """The widgets between the bars."""
        raise NotImplementedError

    def show(self) -> None:
        """Updates the screen from the model."""
        raise NotImplementedError

    @property
    def is_composed(self) -> bool:
        """Whether all widgets exist: false before mounting and after closing."""
        return self.is_mounted and self.is_attached and any(isinstance(child, KeyBar) for child in self.children)

    def refresh_view(self) -> None:
        """Updates bars and body."""
        if not self.is_composed:
            return
        model = self.app.model
        bar = self.query_one(TopBar)
        bar.page = self.PAGE
        bar.address = self.app.address
        bar.connection = model.connection
        bar.facts = f"{plural(model.active_runs(), 'active run')}, {plural(len(model.workers), 'worker')}"
        self.query_one("#problem", Static).update(Content(model.problem))
        self.query_one("#problem").display = bool(model.problem)
        self.show()
        self.query_one(KeyBar).sync()

    def on_screen_resume(self) -> None:
        """Catches up with changes made while another screen was in front."""
        self.refresh_view()

    def on_mount(self) -> None:
        """Shows the current state at once."""
        self.call_after_refresh(self.refresh_view)

    # keys

    def action_back(self) -> None:
        """Returns to the previous screen."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides keys that never apply here."""
        if action == "back":
            return len(self.app.screen_stack) > 1
        return True

    def applies(self, action: str) -> bool:
        """Whether a key has an effect at present; otherwise it is dimmed, and explains why when pressed."""
        return True

    # commands

    def command(self, request: Awaitable[str | None]) -> None:
        """Runs a command in the background and shows its outcome: the answer's text, or the reason for a rejection."""

        async def run() -> None:
            try:
                done = await request
            except LongshoreError as error:
                self.tell(str(error), bad=True)
            else:
                if done:
                    self.tell(done)

        self.app.run_worker(run(), group="commands", exit_on_error=True)

    def tell(self, text: str, *, bad: bool = False) -> None:
        """Shows a short notification."""
        if bad:
            self.app.notify(text, severity="error", timeout=BAD_NEWS, markup=False)
        else:
            self.app.notify(text, timeout=GOOD_NEWS, markup=False)

    def copy(self, text: str) -> None:
        """Copies a text to the terminal's clipboard."""
        self.app.copy_to_clipboard(text)
        self.tell(f"copied {text}")
