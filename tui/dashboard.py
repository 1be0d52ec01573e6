"""The dashboard's interface to its screens: model, connection, time, dialogs. Knows no screen."""

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
    """The dashboard of the coordinator at `address`. `clock` returns wall-clock time; tests replace it."""

    def __init__(self, address: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.address = address
        self._clock = clock
        self.model = Model()
        self.feed = FeedClient(address, self.model, self.model_changed)

    def model_changed(self) -> None:
        """Called after the feed changed the model; `app` refreshes the page in front."""

    def now(self) -> float:
        """The time on the coordinator's clock, which is the reference of all its timestamps."""
        return self._clock() + self.model.skew

    async def ask(self, dialog: ModalScreen[T]) -> T | None:
        """Shows a dialog and returns its answer."""
        return await self.push_screen_wait(dialog)
