"""Keeps apart what removes an attempt's leftovers and what prepares the attempt: both know them by the same names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition


class RemovalGuard:
    """Attempts of which something is being removed. Thread-safe."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._change = Condition()

    @contextmanager
    def of(self, attempt: str, wanted: Callable[[], bool]) -> Iterator[bool]:
        """Whether something of the attempt may be removed now: if that is `wanted` still, in the moment it begins."""
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
                    self._under_way += Counter()  # forgets who is at zero
                    self._change.notify_all()

    def wait(self, attempt: str) -> None:
        """Until nothing of the attempt is being removed. Whether more will be is up to who wants it."""
        with self._change:
            self._change.wait_for(lambda: not self._under_way[attempt])
