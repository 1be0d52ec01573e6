"""The times at which a log's bytes were read, as far as they are known here. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from protocol.log_times import Mark


class LogTimes:
    """Marks of parts of one log, in any order of arrival."""

    def __init__(self) -> None:
        self._offsets: array[int] = array("Q")
        self._at: array[int] = array("Q")

    def add(self, marks: Sequence[Mark]) -> None:
        """Takes consecutive marks; they replace the known ones of the same bytes."""
        if not marks:
            return
        first = bisect_left(self._offsets, marks[0].offset)
        last = bisect_right(self._offsets, marks[-1].offset)
        self._offsets[first:last] = array("Q", [each.offset for each in marks])
        self._at[first:last] = array("Q", [each.at for each in marks])

    def clear(self) -> None:
        """Forgets everything."""
        del self._offsets[:]
        del self._at[:]

    def at(self, offset: int) -> float | None:
        """The time of a byte, in seconds since 1970; None: unknown."""
        found = bisect_right(self._offsets, offset)
        return self._at[found - 1] / 1000 if found else None
