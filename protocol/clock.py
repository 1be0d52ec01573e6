"""The monotonic clock across processes. It counts from the machine's boot, independent of the wall clock.

A reading stored with its boot ID can be compared with one of a later process, until the machine reboots.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot() -> str:
    """The kernel's boot ID; empty if unavailable."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def reading() -> str:
    """The boot ID and the monotonic time, as text to be stored."""
    return f"{boot()} {time.monotonic()!r}"


def monotonic_of(reading: str) -> float | None:
    """The monotonic time of a stored reading; None if it is malformed or of another boot."""
    at, _, seconds = reading.partition(" ")
    try:
        return float(seconds) if at and at == boot() else None
    except ValueError:
        return None
