"""The wall clock of a Python process with this directory in its PYTHONPATH: off by what a file says when it is read.

(libfaketime would do it below Python, but as Debian has it (0.9.10) it breaks the sleep of Python 3.11: it shifts
`clock_nanosleep` of the monotonic clock too.) The monotonic clock is left alone, as with a real jump.
"""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path

FILE = Path(os.environ["JUMPING_CLOCK"])
real_time = time.time


def offset() -> float:
    return float(FILE.read_text())


def jumping_time() -> float:
    return real_time() + offset()


def jumping_time_ns() -> int:
    return int(jumping_time() * 1e9)


class JumpingDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> JumpingDatetime:
        return cls.fromtimestamp(jumping_time(), tz)

    @classmethod
    def utcnow(cls) -> JumpingDatetime:
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time, time.time_ns = jumping_time, jumping_time_ns
datetime.datetime = JumpingDatetime  # type: ignore[misc]
