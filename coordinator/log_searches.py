"""Searches stored logs in a thread, so that the loop never waits for one. Clients take turns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import msgspec

from coordinator.files.base import Logs
from coordinator.files.line_search import Search, StoredLog, end_of_lines, find_lines
from coordinator.transport.turn_queue import TurnQueue
from protocol import messages as m
from protocol.log_lines import LinePattern
from protocol.regular_expressions import BadPattern

log = logging.getLogger(__name__)


class Wanted(msgspec.Struct, frozen=True):
    """A query, and the log to search: `size` bytes of it, which are all if it is `complete`."""

    query: m.FindLines
    attempt: str
    size: int
    complete: bool


class LogSearches:
    """The loop calls everything but the search itself. `wake` is called in the thread when an answer is ready."""

    def __init__(self, logs: Logs, wake: Callable[[], None]) -> None:
        self._logs = logs
        self._wake = wake
        self._waiting: TurnQueue[Wanted] = TurnQueue()
        self._thread = ThreadPoolExecutor(1, "log search")
        self._current: tuple[bytes, Future[m.Message]] | None = None

    def close(self) -> None:
        """Ends the thread, after the search that is in progress."""
        self._thread.shutdown(cancel_futures=True)

    def add(self, route: bytes, wanted: Wanted) -> None:
        """Searches for a client. Raises ProtocolError if too many of its searches are pending."""
        self._waiting.add(route, wanted)
        self._go_on()

    def answers(self) -> list[tuple[bytes, m.Message]]:
        """The answers since the last call, with the routes of their clients."""
        found = []
        while self._current is not None and self._current[1].done():
            route, future = self._current
            self._current = None
            found.append((route, future.result()))
            self._go_on()
        return found

    def drop_key(self, key: bytes) -> None:
        """Drops the searches of all connections of a key."""
        self._waiting.drop_key(key)

    def _go_on(self) -> None:
        if self._current is None and self._waiting:
            route, wanted = self._waiting.take()
            future = self._thread.submit(search, self._logs, wanted)
            self._current = route, future
            future.add_done_callback(lambda _: self._wake())


def search(logs: Logs, wanted: Wanted) -> m.Message:
    """The answer to a query. Raises nothing."""
    query, attempt, stream = wanted.query, wanted.attempt, wanted.query.stream
    try:
        stored = StoredLog(
            read=partial(logs.read, attempt, stream=stream),
            times=partial(logs.times, attempt, stream=stream),
            since=partial(logs.since, attempt, stream=stream),
            size=wanted.size,
            whole=query.whole or wanted.complete,
        )
        end = end_of_lines(stored)
        offset = query.offset if query.offset is not None else end if query.backwards else 0
        pattern = LinePattern(query.pattern)
        found = find_lines(stored, Search(pattern, min(offset, end), query.backwards, query.since, query.limit))
    except BadPattern as error:
        return m.Error(id=query.id, code="bad_request", message=str(error))
    except Exception as error:
        log.warning("a log can't be searched: %s", error, extra={"attempt": attempt})
        return m.Error(id=query.id, code="internal", message=f"the log can't be searched: {error}")
    return m.FoundLines(
        id=query.id,
        attempt_id=attempt,
        lines=found.lines,
        next=found.next,
        done=found.done,
        end=end,
        complete=wanted.complete,
    )
