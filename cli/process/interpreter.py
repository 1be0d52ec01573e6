"""How our processes use Python's interpreter: when it looks for garbage, how its threads take turns, what becomes of
characters that a terminal lacks, how it ends.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

START_GARBAGE = 250_000, 10, 10
"""A start leaves no garbage in circles; to look for it takes 20 ms of all that is imported."""
COLLECT_GARBAGE_AFTER = 10_000, 10, 10
"""What our processes keep (runs, jobs, plans) lives long and goes by reference count; to look through all of it for
circles as often as Python would takes a fifth of a busy coordinator's time."""
SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter when others want it. A job is handed from thread to thread ten times."""


def begin() -> None:
    """The first that a process does."""
    gc.set_threshold(*START_GARBAGE)
    sys.setswitchinterval(SWITCH_SECONDS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without UTF-8 lacks our signs, and names of jobs


def settle() -> None:
    """A process that stays has imported and made all that it needs."""
    gc.freeze()
    gc.set_threshold(*COLLECT_GARBAGE_AFTER)


def end(status: int) -> NoReturn:
    """Ends the process as it is: to take apart all that was imported would take as long as to make a container."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
