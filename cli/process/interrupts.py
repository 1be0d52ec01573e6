"""What `run` does with the signals that ask it to end: it counts them, and says where they may break in.

A handler that raises does so anywhere: between a request and its answer, where nobody knows whether the run is there.
So signals only count, except inside `breaks`, where nothing is half done.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

PRESS_SECONDS = 0.5
"""Signals that come this close together are one press: `timeout` and npm send each of theirs twice."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Signals have broken in where that is allowed. `status` is what the process ends with, `told` what the user is."""

    def __init__(self, status: int, told: str = "ended before the run began") -> None:
        super().__init__(status)
        self.status = status
        self.told = told


class Presses:
    """Counts signals as somebody means them: those that come close together are one press."""

    def __init__(self) -> None:
        self.count = 0
        self._at = 0.0

    def add(self) -> bool:
        """One more signal; whether it is a press of its own."""
        now = time.monotonic()
        fresh = not self.count or now - self._at > PRESS_SECONDS
        if fresh:
            self.count += 1
            self._at = now
        return fresh


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP of this process, from `install` on. Only the main thread may use it."""

    def __init__(self) -> None:
        self.hung_up = False  # the terminal is gone: what can go on without it is to go on
        self.patience = 1  # the press that ends waiting for a coordinator
        self._presses = Presses()
        self._first = 0
        self._break_at: int | None = None

    @property
    def presses(self) -> int:
        """How often somebody has asked this process to end."""
        return self._presses.count

    def install(self) -> None:
        """Takes the signals over. SIGHUP stays ignored where it is (nohup)."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @property
    def status(self) -> int:
        """What a process ends with that the first of them has ended, as shells have it."""
        return 128 + self._first

    @contextmanager
    def breaks(self, press: int = 1) -> Iterator[None]:
        """Inside, so many presses (or SIGHUP) raise Interrupted, also those that came before."""
        outer, self._break_at = self._break_at, press
        try:
            self._look()
            yield
        finally:
            self._break_at = outer
        self._look()

    def waits(self) -> AbstractContextManager[None]:
        """Inside, a coordinator is waited for, which may take long."""
        return self.breaks(self.patience)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._first = self._first or number
        if number == signal.SIGHUP:
            self.hung_up = True
        self._presses.add()
        self._look()

    def _look(self) -> None:
        if self._break_at is not None and self.presses and (self.hung_up or self.presses >= self._break_at):
            raise Interrupted(self.status)
