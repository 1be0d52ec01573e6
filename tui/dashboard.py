"""What every screen may ask of the dashboard: model, connection, time, dialogs. Knows no screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from textual.app import App
from textual.screen import ModalScreen

from tui.client.feed_client import FeedClient
from tui.client.model import Model

T = TypeVar("T")


class Dashboard(App[None]):
    """The dashboard of the coordinator at `address`. `clock` gives the wall clock's time, for tests to set."""

    def __init__(self, address: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.address = address
        self._clock = clock
        self.model = Model()
        self.feed = FeedClient(address, self.model, self.model_changed)

    def model_changed(self) -> None:
        """The feed has changed the model; `app` refreshes the page in front."""

    def now(self) -> float:
        """The time by the coordinator's clock, by which all times that it gives are."""
        return self._clock() + self.model.skew

    async def ask(self, dialog: ModalScreen[T]) -> T | None:
        """Shows a dialog and gives its answer."""
        return await self.push_screen_wait(dialog)
