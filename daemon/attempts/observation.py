"""Observability hooks of a worker: one for metrics, one for traces.

Both are called in the loop's thread, after a turn's instructions were carried out, and must return at once. Exceptions
are logged and otherwise ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import msgspec

from daemon.attempts.instructions import Instruction

logger = logging.getLogger(__name__)


class Metrics(Protocol):
    """Counters and timings."""

    def turn_settled(self, turn: Sequence[Instruction], *, took: float) -> None:
        """Seconds that the turn `took` to carry out."""


class Traces(Protocol):
    """Traces attempts through their phases."""

    def turn_settled(self, turn: Sequence[Instruction], now: float) -> None:
        """Called with the turn's instructions and its time (monotonic). A lost message counts as sent; the core then
        repeats it.
        """


class Observers(msgspec.Struct, frozen=True):
    """A worker's observers, if any."""

    metrics: Metrics | None = None
    traces: Traces | None = None

    def __bool__(self) -> bool:
        return self.metrics is not None or self.traces is not None

    def turn_settled(self, turn: Sequence[Instruction], began: float, ended: float) -> None:
        """Passes a turn to the observers. `began` and `ended` are monotonic."""
        try:
            if self.metrics:
                self.metrics.turn_settled(turn, took=ended - began)
            if self.traces:
                self.traces.turn_settled(turn, began)
        except Exception:
            logger.exception("an observer failed")
