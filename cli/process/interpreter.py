"""Tunes the Python interpreter for our processes: garbage collection, threads, crash reports, output encoding, exit."""

from __future__ import annotations

import faulthandler
import gc
import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

START_GARBAGE = 250_000, 10, 10
"""Startup creates no cyclic garbage; scanning all imported objects for it takes 20 ms."""
COLLECT_GARBAGE_AFTER = 10_000, 10, 10
"""Our long-lived objects (runs, jobs, plans) are freed by reference count; scanning them for cycles at Python's
default rate takes a fifth of a busy coordinator's time."""
SWITCH_SECONDS = 0.0005
"""Switch interval between threads waiting for the interpreter. A job is handed from thread to thread ten times."""


def begin() -> None:
    """Prepares the interpreter; called first in every process."""
    gc.set_threshold(*START_GARBAGE)
    with suppress(OSError, ValueError, RuntimeError):  # no stderr, or one that is no file
        faulthandler.enable()  # a crash in a C extension says where
    sys.setswitchinterval(SWITCH_SECONDS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a locale without UTF-8 lacks our symbols and some job names


def settle() -> None:
    """Exempts existing objects from garbage collection; called when a long-lived process has finished starting."""
    gc.freeze()
    gc.set_threshold(*COLLECT_GARBAGE_AFTER)


def end(status: int) -> NoReturn:
    """Exits without interpreter shutdown, which would take as long as creating a container."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
