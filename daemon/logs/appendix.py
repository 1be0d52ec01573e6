"""Text of the worker's that follows the script's output in a job's log: the output of its services. Knows no engine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from time import time

from daemon.logs.sender import LogAborted, LogRestarted, LogSender


class Appendix:
    """The end of one log, after what is read from the engine. A later daemon, which can't know where it began, may
    repeat some of it.
    """

    def __init__(self, log: LogSender) -> None:
        self._log = log
        self._text = b""
        self._begins = 0
        self._read_at = 0.0

    def append(self, text: bytes, length: int) -> None:
        """Appends `text` to the log, which has this length. If the log must be read again, `write` follows."""
        self._text, self._begins, self._read_at = text, length, time()
        with suppress(LogAborted, LogRestarted):
            self.write()

    def write(self) -> None:
        """Writes what is missing of it, once all before it is written. Raises LogAborted, LogRestarted."""
        self._log.write(self._text[max(0, self._log.end - self._begins) :], self._read_at)


def labelled(logs: Mapping[str, bytes]) -> bytes:
    """The output of services, by alias, as lines of a job's log."""
    return b"".join(
        f"[service:{alias}] ".encode() + line + b"\n" for alias, data in logs.items() for line in _lines(data)
    )


def _lines(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n") if data else []
