"""Evicts the least recently used files of a cache directory, independent of their content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

EVICT_DOWN_TO = 0.9
"""Share of the limit that an eviction leaves, so that not every new entry triggers one."""


class Entry(NamedTuple):
    """A cached file. `used` is its last use (wall clock); one in use is kept, and counts."""

    used: float
    size: int
    path: Path
    in_use: bool = False


def evict(entries: Iterable[Entry], limit: int, before: float = 0.0) -> int:
    """Removes entries last used `before` a time; then, above `limit` bytes, the least recently used ones.

    Returns the bytes that remain.
    """
    kept: list[Entry] = []
    for entry in sorted(entries):
        if entry.used >= before or not _removed(entry):
            kept.append(entry)
    total = sum(entry.size for entry in kept)
    if total > limit:
        for entry in kept:
            if total <= limit * EVICT_DOWN_TO:
                break
            if _removed(entry):
                total -= entry.size
    return total


def _removed(entry: Entry) -> bool:
    """Removes an entry; False if it is in use, or not one of our files."""
    if entry.in_use:
        return False
    with contextlib.suppress(OSError):
        entry.path.unlink(missing_ok=True)
        return True
    return False
