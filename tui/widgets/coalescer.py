"""Merges many small changes into few repaints."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.message_pump import MessagePump
from textual.timer import Timer

FRAME = 0.05
"""Minimum seconds between two repaints: 20 per second."""


class Coalescer:
    """Calls `action` soon after `poke`, at most once per frame however often it is poked."""

    def __init__(self, owner: MessagePump, action: Callable[[], None]) -> None:
        self._owner = owner
        self._action = action
        self._timer: Timer | None = None
        self._last = 0.0

    def poke(self) -> None:
        """Requests the action."""
        if self._timer is None:
            wait = max(0.001, self._last + FRAME - time.monotonic())
            self._timer = self._owner.set_timer(wait, self._act)

    def _act(self) -> None:
        self._timer = None
        self._last = time.monotonic()
        self._action()
