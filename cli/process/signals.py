"""What a long-lived process does on a signal."""

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
"""How long a process of `up` takes at most to end after `up` itself; nothing is lost by its being cut short."""


class EndOfInput:
    """Ends this process with the one that holds the other end of its stdin, however that ends.

    A pipe, not the kernel's parent-death signal: that one comes when the parent's *thread* ends, and is not sent to a
    process whose parent was gone before it asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_end = False
        self._stops: tuple[Callable[[], object], ...] = ()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def then(self, *stops: Callable[[], object]) -> None:
        """What stops this process from now on; called at once if the end was there already."""
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
        logging.getLogger(__name__).warning("`longshore up` has ended, and this process with it")
        self._stop()
        time.sleep(LEAVE_SECONDS)
        os._exit(1)

    def _stop(self) -> None:
        for stop in self._stops:
            stop()


def tell_on_signal(tell: Callable[[], object] = lambda: None) -> None:
    """SIGUSR1 has a process say what it is at: by `tell`, and where each of its threads is, to stderr."""
    signal.signal(signal.SIGUSR1, lambda _number, _frame: tell())
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)


def on_signals(stop: Callable[[], object], *, calls: int = 1) -> None:
    """The first `calls` presses of Ctrl-C, or SIGTERMs, call `stop`; one more ends the process at once, which loses
    nothing.
    """
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
