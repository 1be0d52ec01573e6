"""Hooks for those who watch a coordinator at work: one for metrics, one for traces.

Both are called in the loop's thread, after a turn is durable and announced, and must return at once. What they raise is
logged and disturbs nothing.
"""

from __future__ import annotations

from typing import Protocol

from coordinator.engine.effects import Turn
from coordinator.engine.state import Now


class Metrics(Protocol):
    """Counts and measures."""

    def turn_settled(self, turn: Turn, *, took: float, wrote: float) -> None:
        """A turn took so many seconds, `wrote` of them for logs and rows."""


class Traces(Protocol):
    """Follows runs and their jobs through their phases."""

    def turn_settled(self, turn: Turn, now: Now) -> None:
        """The objects in the turn have changed; `now` is the turn's time."""
