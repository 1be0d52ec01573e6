"""Limits per peer and project: each has a default, a setting and a clear refusal. Pure.

Message sizes and queue lengths per connection are bounded by the codec, the router and the query queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from coordinator.engine.state import RunState
from protocol.errors import ProtocolError, UsageError
from protocol.plan import Plan


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one coordinator."""

    messages_per_second: int = 20_000  # per connection; a busy worker with its logs sends some hundreds
    runs_per_project: int = 1_000  # unfinished runs
    jobs_per_run: int = 50_000
    blob_bytes: int = 16 << 30  # per workspace or artifact archive
    unnamed_bytes: int = 64 << 30  # of blobs uploaded with one key that no run refers to yet
    project_bytes: int = 256 << 30  # of workspaces and artifacts of a project's runs
    log_bytes: int = 1 << 30  # highest log limit that a pipeline file may set for a job

    def check_submission(self, plan: Plan, unfinished: Mapping[int, RunState]) -> None:
        """Raises ProtocolError for a new run that exceeds a limit."""
        if len(plan.jobs) > self.jobs_per_run:
            raise ProtocolError(
                "too_large", f"the run has {len(plan.jobs)} jobs; the limit jobs_per_run is {self.jobs_per_run}"
            )
        for job in plan.jobs:
            if (job.resources.log_limit or 0) > self.log_bytes:
                raise ProtocolError(
                    "too_large",
                    f"job {job.name!r} asks for a log of {job.resources.log_limit} bytes; "
                    f"the limit log_bytes is {self.log_bytes}",
                )
        if len(unfinished) >= self.runs_per_project:
            own = sum(run.plan.project == plan.project for run in unfinished.values())
            if own >= self.runs_per_project:
                raise ProtocolError(
                    "bad_request",
                    f"project {plan.project!r} has {own} unfinished runs; the limit runs_per_project is "
                    f"{self.runs_per_project}: cancel some, or wait",
                )

    def check_blob(self, size: int) -> None:
        """Raises ProtocolError for a blob that is too large."""
        if size > self.blob_bytes:
            raise ProtocolError("too_large", f"a blob of {size} bytes; the limit blob_bytes is {self.blob_bytes}")


def parse_limits(texts: Iterable[str]) -> Limits:
    """Parses limits given as NAME=NUMBER. Raises UsageError naming the known limits."""
    names = set(Limits.__struct_fields__)
    chosen = {}
    for text in texts:
        name, _, number = text.partition("=")
        if name not in names or not number.isdigit() or not int(number):
            raise UsageError(f"bad limit {text!r}: give NAME=NUMBER; known limits: {', '.join(sorted(names))}")
        chosen[name] = int(number)
    return Limits(**chosen)


class RateLimiter:
    """Limits the messages of each connection per second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._sent: dict[bytes, int] = {}

    def check(self, route: bytes, now: float, count: int = 1) -> None:
        """Counts `count` more messages at the monotonic time `now`. Raises ProtocolError if that is too many."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._sent.clear()
        sent = self._sent[route] = self._sent.get(route, 0) + count
        if sent > self._per_second:
            raise ProtocolError(
                "unavailable", f"more than {self._per_second} messages a second (the limit messages_per_second)"
            )
