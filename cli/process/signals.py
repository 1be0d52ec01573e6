"""Signal handling of long-lived processes."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from cli.process.interrupts import Presses

if TYPE_CHECKING:
    pass

LEAVE_SECONDS = 12.0
"""Maximum time for a process of `up` to outlive `up`; cutting it short loses nothing."""


class EndOfInput:
    """Ends this process with the process that holds the other end of its stdin, however that one ends.

    A pipe, not the kernel's parent-death signal: that one fires when the parent's *thread* ends, and not at all if the
    parent was gone before the request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_end = False
        self._stops: tuple[Callable[[], object], ...] = ()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def then(self, *stops: Callable[[], object]) -> None:
        """Sets the callbacks that stop this process; calls them at once if stdin has already closed."""
        with self._lock:
            self._stops = stops
            at_end = self._at_end
        if at_end:
            self._stop()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        with self._lock:
            self._at_end = True
        logging.getLogger(__name__).warning("`longshore up` has ended; stopping this process")
        self._stop()
        time.sleep(LEAVE_SECONDS)
        os._exit(1)

    def _stop(self) -> None:
        for stop in self._stops:
            stop()


def tell_on_signal(tell: Callable[[], object] = lambda: None) -> None:
    """On SIGUSR1, dumps the process state to stderr: `tell`, and the stack of each thread."""
    signal.signal(signal.SIGUSR1, lambda _number, _frame: tell())
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)


def on_signals(stop: Callable[[], object], *, calls: int = 1) -> None:
    """Calls `stop` on the first `calls` SIGINTs or SIGTERMs; one more ends the process at once, which loses nothing."""
    presses = Presses()

    def handler(number: int, _frame: FrameType | None) -> None:
        if not presses.add():
            return
        if presses.count <= calls:
            stop()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
