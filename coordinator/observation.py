"""Observability hooks of a coordinator: one for metrics, one for traces.

Both are called in the loop's thread, after a turn is durable and announced, and must return at once. Exceptions are
logged and otherwise ignored.
"""

from __future__ import annotations

from typing import Protocol

from coordinator.engine.effects import Turn
from coordinator.engine.state import Now


class Metrics(Protocol):
    """Counters and timings."""

    def turn_settled(self, turn: Turn, *, took: float, wrote: float) -> None:
        """Seconds that the turn `took`, of which it `wrote` logs and rows."""


class Traces(Protocol):
    """Traces runs and jobs through their phases."""

    def turn_settled(self, turn: Turn, now: Now) -> None:
        """Called with the turn's changed objects and its time."""
