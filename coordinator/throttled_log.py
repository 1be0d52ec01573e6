"""Rate-limits warnings that peers can trigger, and reports how many were suppressed."""

from __future__ import annotations

import logging
import time

PER_MINUTE = 30


class ThrottledLogger:
    """Writes at most PER_MINUTE warnings a minute to a logger."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._minute = 0
        self._said = 0

    def say(self, message: str, *values: object) -> None:
        """Logs a warning, unless the minute's budget is spent."""
        minute = int(time.monotonic() / 60)
        if minute != self._minute:
            if self._said > PER_MINUTE:
                self._log.warning("%d more warnings suppressed", self._said - PER_MINUTE)
            self._minute, self._said = minute, 0
        self._said += 1
        if self._said <= PER_MINUTE:
            self._log.warning(message, *values)
