"""What all screens have: the bars, the keys that work everywhere, and how commands are given and answered."""

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
"""Seconds that a message stays."""


class Page(Screen[None]):
    """A screen of the dashboard. `show` brings it up to date with the model; the app calls it when that has changed,
    and once a second so that times tick."""

    PAGE: ClassVar[str] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", key_display="esc"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q,ctrl+c", "app.quit", "Quit", key_display="q"),
    ]
    app: Dashboard

    def compose(self) -> ComposeResult:
        """The bars around what the screen itself has."""
        yield TopBar()
        yield Static(id="problem", markup=False)
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """The widgets between the bars."""
        raise NotImplementedError

    def show(self) -> None:
        """Shows the model as it is now."""
        raise NotImplementedError

    @property
    def is_composed(self) -> bool:
        """Whether all widgets and their parts are there: not yet before it is mounted, not any more when closed."""
        return self.is_mounted and self.is_attached and bool(self.query(KeyBar))

    def refresh_view(self) -> None:
        """Brings bars and body up to date."""
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
        """Catches up with what happened while another screen was in front."""
        self.refresh_view()

    def on_mount(self) -> None:
        """Shows something at once."""
        self.call_after_refresh(self.refresh_view)

    # keys

    def action_back(self) -> None:
        """To the screen before."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides keys that never do anything here."""
        if action == "back":
            return len(self.app.screen_stack) > 1
        return True

    def applies(self, action: str) -> bool:
        """Whether a key could do anything as things are; else it is shown dim, and tells why if it is pressed."""
        return True

    # commands

    def command(self, request: Awaitable[str | None]) -> None:
        """Gives a command in the background and tells how it ended: the answer's text, or why it was refused."""

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
        """A short message in the corner."""
        if bad:
            self.app.notify(text, severity="error", timeout=BAD_NEWS, markup=False)
        else:
            self.app.notify(text, timeout=GOOD_NEWS, markup=False)

    def copy(self, text: str) -> None:
        """Puts a text into the terminal's clipboard."""
        self.app.copy_to_clipboard(text)
        self.tell(f"copied {text}")
