"""A worker that sends no times of log lines, to measure what they cost. Everything else is the real one's."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

from cli.main import main
from daemon.attempts import attempt
from daemon.logs import sender
from daemon.logs.read_clock import ReadClock
from daemon.logs.resume import Sink
from protocol.log_times import Mark


def without_times() -> None:
    """Runs `longshore` with the options of this process."""
    with (
        mock.patch.object(ReadClock, "stamped", _same),
        mock.patch.object(sender, "mark", _no_mark),
        mock.patch.object(attempt, "encode", _nothing),
    ):
        main()


def _same(clock: ReadClock, sink: Sink) -> Sink:
    return sink


def _no_mark(offset: int, at: float, known: Mark = Mark(0, 1)) -> Mark:  # noqa: B008
    return known


def _nothing(marks: Sequence[Mark], offset: int) -> bytes:
    return b""


if __name__ == "__main__":
    without_times()
