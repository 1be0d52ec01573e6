"""Reads one attempt's log from its sandbox into its sender: masked, limited, and again if the coordinator loses some.

Keeps the end of the log, for hints, and what a coverage expression needs. Knows the executor's Protocols, and decides
nothing about the attempt.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from threading import Event

from daemon.attempts import hints
from daemon.executors.base import Sandbox
from daemon.logs.appendix import Appendix, labelled
from daemon.logs.coverage import LogTail, find_coverage
from daemon.logs.limiter import LogLimit
from daemon.logs.masking import Masker
from daemon.logs.read_clock import ReadClock
from daemon.logs.resume import OffsetFilter
from daemon.logs.sender import LogAborted, LogRestarted, LogSender
from protocol.backoff import Backoff
from protocol.messages import Assignment

TRIES = 5
"""Attempts at reading a log that the engine fails to return."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between them."""

logger = logging.getLogger(__name__)


class LogReader:
    """The way of one attempt's log from the engine to the coordinator."""

    def __init__(self, assignment: Assignment, sandbox: Sandbox, sender: LogSender, masker: Masker) -> None:
        self.error: str | None = None
        """Why the rest of the log can't be read, if so."""
        self._assignment = assignment
        self._sandbox = sandbox
        self._sender = sender
        self._masker = masker
        self._tail = LogTail() if assignment.job.coverage else None
        self._end = LogTail(hints.TAIL_BYTES)
        self._appendix = Appendix(sender)
        self._no_log = Event()

    def follow(self) -> None:
        """The body of the log's own thread: the log may lag behind the job without occupying the slot."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        for attempt in itertools.count():
            limit = LogLimit(self._assignment.log_limit, self._sender.write, self._sender.resume())
            clock = ReadClock(lambda: self._sandbox.read_at)
            try:
                if self._masker:
                    self._follow_masked(limit, clock)
                else:
                    self._sandbox.follow_log(limit.start, clock.stamped(self._tapped(clock.timed(limit.write))))
                limit.close()
                self._appendix.write()
                return
            except LogRestarted:
                continue
            except LogAborted:
                return
            except Exception as error:
                logger.warning("reading a log failed: %r", error, extra={"attempt": self._assignment.attempt})
                if attempt >= TRIES or self._no_log.wait(backoff.pause()):
                    self.error = f"the rest of its log can't be read: {error}"
                    return

    def give_up(self) -> None:
        """The attempt has failed without an engine or a container, and so without a log: try no more."""
        self._no_log.set()

    def whole(self) -> int:
        """Reads the log again as often as the coordinator loses some of it; its length."""
        while (length := self._sender.whole()) is None:
            self.follow()
        return length

    def append_services(self, logs: dict[str, bytes], length: int) -> int:
        """Appends the output of services, by alias, to the log, which has this length; its new length."""
        self._appendix.append(labelled(logs), length)
        return self.whole()

    def end(self) -> bytes:
        """The last bytes of the log as they were read."""
        return self._end.bytes()

    def coverage(self, *, resumed: bool) -> float | None:
        """What the job's coverage expression finds. The line may predate the worker's start if it has `resumed`."""
        expression = self._assignment.job.coverage
        if not expression or self._tail is None:
            return None
        found = find_coverage(expression, self._tail)
        if found is None and resumed:
            self._sandbox.follow_log(0, self._tail.add)
            found = find_coverage(expression, self._tail)
        return found

    def _follow_masked(self, limit: LogLimit, clock: ReadClock) -> None:
        """Reads the log from its beginning, since masking depends on all of it; then drops the bytes already stored."""
        skipper = OffsetFilter(limit.start, clock.timed(limit.write))
        stream = self._masker.stream(self._tapped(skipper.write))
        self._sandbox.follow_log(0, clock.stamped(stream.write))
        stream.close()

    def _tapped(self, sink: Callable[[bytes], None]) -> Callable[[bytes], None]:
        tail, end = self._tail, self._end

        def tapped(data: bytes) -> None:
            if tail is not None:
                tail.add(data)
            end.add(data)
            sink(data)

        return tapped
