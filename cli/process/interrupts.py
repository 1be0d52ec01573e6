"""Signal handling of `run`: counts signals, and restricts interruption to safe points.

A handler that raises could do so anywhere: between a request and its answer, leaving it unknown whether the run
exists. Signals are therefore only counted, except inside `breaks`, where no operation is half done.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

PRESS_SECONDS = 0.5
"""Signals this close together count as one press: `timeout` and npm send each of theirs twice."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Raised where signals may interrupt. `status` is the exit status, `message` is for the user."""

    def __init__(self, status: int, message: str = "ended before the run began") -> None:
        super().__init__(status)
        self.status = status
        self.message = message


class Presses:
    """Counts key presses: signals close together are one press."""

    def __init__(self) -> None:
        self.count = 0
        self._at = 0.0

    def add(self) -> bool:
        """Records a signal; returns whether it starts a new press."""
        now = time.monotonic()
        fresh = not self.count or now - self._at > PRESS_SECONDS
        if fresh:
            self.count += 1
            self._at = now
        return fresh


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP of this process, once installed. For the main thread only."""

    def __init__(self) -> None:
        self.hung_up = False  # the terminal is gone: work that can continue without it continues
        self.patience = 1  # the press that ends the wait for a coordinator
        self._presses = Presses()
        self._first = 0
        self._break_at: int | None = None

    @property
    def presses(self) -> int:
        """Number of requests to end this process."""
        return self._presses.count

    def install(self) -> None:
        """Installs the handlers. SIGHUP stays ignored if it was (nohup)."""
        for number in SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    @property
    def status(self) -> int:
        """Exit status of a process ended by the first signal, by shell convention."""
        return 128 + self._first

    @contextmanager
    def breaks(self, press: int = 1) -> Iterator[None]:
        """Inside, `press` presses (or SIGHUP) raise Interrupted, including earlier ones."""
        outer, self._break_at = self._break_at, press
        try:
            self._look()
            yield
        finally:
            self._break_at = outer
        self._look()

    def waits(self) -> AbstractContextManager[None]:
        """Marks a wait for a coordinator, which may be long."""
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
