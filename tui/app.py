"""The dashboard application: its main pages, keys and refresh cycle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from tui.dashboard import Dashboard
from tui.screens.events import EventsScreen
from tui.screens.help import HelpScreen
from tui.screens.page import Page
from tui.screens.runs import RunsScreen
from tui.screens.workers import WorkersScreen
from tui.widgets.coalescer import Coalescer
from tui.widgets.key_bar import keys_of

NOT_OFFERED = ("Quit", "Keys", "Maximize", "Minimize")
"""Textual's own commands that the dashboard renames or does not use."""


class LongshoreApp(Dashboard):
    """The dashboard of the coordinator at `address`. `clock` returns wall-clock time; tests replace it."""

    TITLE = "Longshore"
    CSS_PATH = "style.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "runs": RunsScreen,
        "workers": WorkersScreen,
        "feed": EventsScreen,
    }
    DEFAULT_MODE = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "show_page('runs')", "Runs", show=False),
        Binding("2", "show_page('workers')", "Workers", show=False),
        Binding("3", "show_page('feed')", "Feed", show=False),
    ]

    def __init__(self, address: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(address, clock=clock)
        self.animation_level = "none"
        self._has_been_away = False
        self._changed = Coalescer(self, self._refresh_page)

    def on_mount(self) -> None:
        """Starts connecting, and starts the timer for elapsed times."""
        self.feed.start()
        self.set_interval(1.0, self._refresh_page)

    async def on_unmount(self) -> None:
        """Closes the connection."""
        await self.feed.stop()

    def on_app_blur(self, event: events.AppBlur) -> None:
        """Ignores the first blur in a browser: the page has the focus, but Textual may report a blur after it."""
        if self.is_web and not self._has_been_away:
            event.prevent_default()
        self._has_been_away = True

    def model_changed(self) -> None:
        """See Dashboard. Changes within one frame refresh the page once."""
        self._changed.poke()

    def _refresh_page(self) -> None:
        for screen in reversed(self.screen_stack):
            if isinstance(screen, Page):
                screen.refresh_view()
                break

    async def action_show_page(self, page: str) -> None:
        """Switches to one of the main pages, which keeps its state."""
        if not isinstance(self.screen, ModalScreen):
            await self.switch_mode(page)

    def action_help(self) -> None:
        """Shows all keys of the current screen."""
        self.push_screen(HelpScreen([(entry.shown, entry.does) for entry in keys_of(self.screen)]))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Entries of the command palette: the screen's keys, then Textual's own commands."""
        for entry in keys_of(screen):
            if not entry.applies:
                continue

            async def run(action: str = entry.action) -> None:
                await screen.run_action(action)

            yield SystemCommand(entry.does, f"key {entry.shown}", run)
        for command in super().get_system_commands(screen):
            if command.title not in NOT_OFFERED:
                yield command
