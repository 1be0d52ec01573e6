"""The monotonic clock beyond the life of a process. It counts from the machine's boot, whatever the wall clock does.

So a reading that is stored with its boot can be compared with one of a later process, until the machine boots again.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot() -> str:
    """What is another one after each boot of this machine; empty where no such thing is known."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def reading() -> str:
    """The monotonic clock as it stands, to be stored."""
    return f"{boot()} {time.monotonic()!r}"


def monotonic_of(reading: str) -> float | None:
    """The monotonic time of a stored reading; None if it is none of this boot."""
    at, _, seconds = reading.partition(" ")
    try:
        return float(seconds) if at and at == boot() else None
    except ValueError:
        return None
