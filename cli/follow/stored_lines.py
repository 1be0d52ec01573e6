"""Lines of a stored log that the coordinator has chosen, so that only those cross the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from protocol import messages as m
from protocol.client import Client


class LineChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines are wanted: those that match `pattern` and were read `since` a time (milliseconds since 1970) or
    later; the `last` so many of them.
    """

    pattern: str = ""
    since: int | None = None
    last: int | None = None

    def __bool__(self) -> bool:
        return self != LineChoice()


def find_lines(
    client: Client,
    run: int,
    job: str,
    choice: LineChoice,
    *,
    attempt: int | None = None,
    stream: str = "job",
    whole: bool = True,
) -> Iterator[m.FoundLines]:
    """Yields the chosen lines of a log, part by part. `whole`: an unfinished last line counts.

    Raises UsageError for an invalid pattern.
    """
    query: dict[str, Any] = {"run": run, "job": job, "attempt": attempt, "stream": stream}
    query |= {"pattern": choice.pattern, "since": choice.since, "whole": whole}
    if choice.last is not None:
        yield _last_lines(client, query, choice.last)
        return
    offset = 0
    while True:
        found = client.request(m.FindLines, m.FoundLines, offset=offset, **query)
        yield found
        if found.done:
            return
        offset = found.next


def _last_lines(client: Client, query: dict[str, Any], count: int) -> m.FoundLines:
    offset: int | None = None
    lines: deque[Any] = deque()
    first: m.FoundLines | None = None
    while True:
        found = client.request(
            m.FindLines, m.FoundLines, offset=offset, backwards=True, limit=count - len(lines), **query
        )
        first = first or found
        lines.extendleft(reversed(found.lines))
        if found.done:
            return msgspec.structs.replace(first, lines=list(lines), done=True)
        offset = found.next
