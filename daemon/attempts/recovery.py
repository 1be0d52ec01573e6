"""What an earlier life of this daemon has left on the engine, until the coordinator says what becomes of it. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from daemon.attempts.instructions import DiscardLeftover, GiveUpLeftover
from daemon.attempts.result import StopReason
from daemon.attempts.table import AttemptTable
from daemon.executors.base import Found
from protocol import messages as m
from protocol.statuses import ExecutionStatus

STATUSES = {"created": ExecutionStatus.PREPARING, "held": ExecutionStatus.WAITING}
"""What a hello says of a container that was not released yet."""

logger = logging.getLogger(__name__)


class RecoveryListener(Protocol):
    """Takes found attempts up."""

    def adopt(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: StopReason | None) -> None:
        """Go on with it. `stop` is what the coordinator has asked for meanwhile."""


class Recovery:
    """Found attempts, until they are adopted or discarded."""

    def __init__(self, table: AttemptTable, listener: RecoveryListener) -> None:
        self._table = table
        self._listener = listener
        self._found: dict[str, Found] = {}
        self._over: set[str] = set()  # those of them whose lease is over, while they are removed
        self._stops: dict[str, StopReason] = {}

    def found(self, found: Iterable[Found]) -> None:
        """At the start: the containers of an earlier life."""
        self._found = {one.attempt: one for one in found}
        self._table.known.update(self._found)

    def __contains__(self, attempt: str) -> bool:
        return attempt in self._found

    def held(self) -> list[m.HeldAttempt]:
        """What a hello says of them."""
        return [
            m.HeldAttempt(attempt=found.attempt, status=STATUSES.get(found.state, ExecutionStatus.RUNNING))
            for found in self._found.values()
        ]

    @property
    def running(self) -> int:
        """How many of them run, and so take slots."""
        return sum(found.state == "running" for found in self._found.values())

    def get_job_execution(self, attempt: str) -> None:
        """Asks for the assignment of a container, then how the coordinator sees it, then has it adopted."""

        def assigned(reply: m.Message) -> None:
            if isinstance(reply, m.JobExecution) and reply.assignment is not None:
                assignment = reply.assignment
                self._table.ask(m.GetJobStatus, attempt, lambda status: self._go_on(assignment, status))
            else:
                self.discard(attempt)

        self._table.ask(m.GetJobExecution, attempt, assigned)

    def _go_on(self, assignment: m.Assignment, reply: m.Message) -> None:
        attempt = assignment.attempt
        if attempt not in self._found or attempt in self._over or not isinstance(reply, m.JobStatusReply):
            return
        if not reply.wanted:
            self.discard(attempt)
            return
        found = self._found.pop(attempt)
        logger.info("takes up an attempt that is %s", found.state, extra={"attempt": attempt})
        self._listener.adopt(found, assignment, reply, self._stops.pop(attempt, None))

    def stop(self, attempt: str, why: StopReason) -> None:
        """Keeps in mind what is asked for before it is known how to do it."""
        self._stops[attempt] = why

    def discard(self, attempt: str) -> None:
        """Removes an attempt that nobody wants, found or not."""
        self._found.pop(attempt, None)
        self._stops.pop(attempt, None)
        self._table.known.discard(attempt)
        self._table.instruct(DiscardLeftover(attempt))

    def tick(self, renewed_at: float) -> None:
        """Those that move may have begun elsewhere if the coordinator was not heard of for their lease."""
        for found in self._found.values():
            lease_over = found.lease is not None and self._table.now - renewed_at > found.lease
            if lease_over and found.attempt not in self._over:
                logger.warning("stops an attempt whose lease is over", extra={"attempt": found.attempt})
                self._over.add(found.attempt)
                self._table.instruct(GiveUpLeftover(found.attempt))

    def gave_up(self, attempt: str, removed: bool) -> None:
        """The outcome of GiveUpLeftover. The coordinator may be told only when nothing is left; what could not be
        removed is tried again with the next tick.
        """
        self._over.discard(attempt)
        if removed and attempt in self._found:
            del self._found[attempt]
            self._stops.pop(attempt, None)
            self._table.known.discard(attempt)
            self._table.send(m.JobReturned(attempt=attempt))
