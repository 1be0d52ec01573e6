"""Growing pauses between attempts. Pure: the caller sleeps."""

from __future__ import annotations


class Backoff:
    """Pauses from `first` seconds on, each twice as long as the one before, up to `most`."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def pause(self) -> float:
        """Seconds until the next attempt; doubles with each call."""
        pause, self._next = self._next, min(2 * self._next, self._most)
        return pause

    def reset(self) -> None:
        """Restarts with the first pause, after a success."""
        self._next = self._first
