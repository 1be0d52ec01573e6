"""Stops cleanup from deleting containers that a new preparation of the same attempt is creating."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition


class RemovalGuard:
    """Attempts with a removal in progress. Thread-safe."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._change = Condition()

    @contextmanager
    def of(self, attempt: str, wanted: Callable[[], bool]) -> Iterator[bool]:
        """Whether an object of the attempt may be removed now: if that is still `wanted` when the removal begins."""
        with self._change:
            begun = wanted()
            if begun:
                self._under_way[attempt] += 1
        try:
            yield begun
        finally:
            if begun:
                with self._change:
                    self._under_way[attempt] -= 1
                    self._under_way += Counter()  # drops zero counts
                    self._change.notify_all()

    def wait(self, attempt: str) -> None:
        """Waits until no removal of the attempt's objects is in progress. The caller must prevent new ones."""
        with self._change:
            self._change.wait_for(lambda: not self._under_way[attempt])
