"""One loop's deadlines, by the monotonic time that the caller passes. Pure."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable


class Timer:
    """One pending call; `cancel` prevents it."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Drops the call. No error if it has happened."""
        self.action = None


class Timers:
    """A heap of timers."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Calls `action` in the first `due` at or after `when`."""
        timer = Timer(when, action)
        heapq.heappush(self._heap, (when, next(self._count), timer))
        return timer

    def next(self) -> float:
        """Time of the next call; infinite if there is none."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> list[Callable[[], None]]:
        """Takes the due calls, in order."""
        actions = []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.action is not None:
                actions.append(timer.action)
                timer.action = None
        return actions
