"""A turn that can't be written: what is kept of it, when it is tried again, and what peers are told meanwhile."""

from __future__ import annotations

import logging

import msgspec
from peewee import PeeweeException

from coordinator.engine.effects import Turn
from coordinator.handlers import Outbox
from coordinator.store.store import UnreadableRun
from protocol.backoff import Backoff
from protocol.errors import ProtocolError

log = logging.getLogger(__name__)

RETRY_FIRST = 0.1
RETRY_MOST = 5.0
"""Seconds until a failed write of a turn is retried; doubled each time, up to RETRY_MOST."""


class Stall(msgspec.Struct):
    """A turn that could not be written yet, with its pending replies. Times are monotonic."""

    turn: Turn
    outbox: Outbox
    since: float
    problem: str = ""
    retry_at: float = 0.0
    _backoff: Backoff = msgspec.field(default_factory=lambda: Backoff(RETRY_FIRST, RETRY_MOST))

    def failed(self, problem: str, now: float) -> None:
        """Writing has failed; the next attempt comes later than this one did."""
        self.problem = problem
        self.retry_at = now + self._backoff.pause()

    def has_answered(self, route: bytes, id: int) -> bool:
        """Whether the reply to a request is already queued."""
        return any(to == route and getattr(reply, "id", None) == id for to, reply, _ in self.outbox.replies)


def failure(error: Exception) -> ProtocolError:
    """The error reply for an exception. Unexpected exceptions, which are bugs, are logged with their traceback."""
    if isinstance(error, PeeweeException | OSError):
        why = str(error).strip().partition("\n")[0]
        return ProtocolError("unavailable", f"the coordinator can't use its database or disk ({why})")
    if isinstance(error, UnreadableRun):
        return ProtocolError("unavailable", str(error))
    log.error("internal error; the message that caused it was dropped", exc_info=error)
    return ProtocolError("internal", f"internal error in the coordinator ({error!r}); see its log")
