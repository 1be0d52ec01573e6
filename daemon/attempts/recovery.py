"""Leftovers of an earlier daemon process on the engine, until the coordinator decides about them. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from daemon.attempts.instructions import DiscardLeftover, GiveUpLeftover
from daemon.attempts.result import StopReason
from daemon.attempts.table import AttemptTable
from daemon.executors.base import Found, Slot
from protocol import messages as m
from protocol.statuses import ExecutionStatus

STATUSES = {"created": ExecutionStatus.PREPARING, "held": ExecutionStatus.WAITING}
"""Statuses in a hello for containers that have not been released yet."""

logger = logging.getLogger(__name__)


class RecoveryListener(Protocol):
    """Resumes found attempts."""

    def adopt(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: StopReason | None) -> None:
        """Resumes an attempt. `stop` is the coordinator's request in the meantime."""


class Recovery:
    """Found attempts, until they are adopted or discarded."""

    def __init__(self, table: AttemptTable, listener: RecoveryListener) -> None:
        self._table = table
        self._listener = listener
        self._found: dict[str, Found] = {}
        self._over: set[str] = set()  # those whose lease is over, during their removal
        self._stops: dict[str, StopReason] = {}

    def found(self, found: Iterable[Found]) -> None:
        """At the start: the containers of an earlier process."""
        self._found = {one.attempt: one for one in found}
        self._table.known.update(self._found)

    def __contains__(self, attempt: str) -> bool:
        return attempt in self._found

    def held(self) -> list[m.HeldAttempt]:
        """Their entries in a hello."""
        return [
            m.HeldAttempt(attempt=found.attempt, status=STATUSES.get(found.state, ExecutionStatus.RUNNING))
            for found in self._found.values()
        ]

    @property
    def running(self) -> int:
        """Number of running ones, which take slots."""
        return sum(found.state == "running" and not found.over for found in self._found.values())

    @property
    def slots(self) -> list[Slot]:
        """The numbers of the running ones, as far as known."""
        running = (found for found in self._found.values() if found.state == "running" and not found.over)
        return [found.slot for found in running if found.slot is not None]

    def get_job_execution(self, attempt: str) -> None:
        """Asks for a container's assignment, then for the coordinator's view, then has the attempt adopted."""

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
        logger.info("resuming an attempt that is %s", found.state, extra={"attempt": attempt})
        self._listener.adopt(found, assignment, reply, self._stops.pop(attempt, None))

    def stop(self, attempt: str, why: StopReason) -> None:
        """Records a stop request until the attempt is adopted."""
        self._stops[attempt] = why

    def discard(self, attempt: str) -> None:
        """Removes an unwanted attempt, found or not."""
        self._found.pop(attempt, None)
        self._stops.pop(attempt, None)
        self._table.known.discard(attempt)
        self._table.instruct(DiscardLeftover(attempt))

    def tick(self, renewed_at: float) -> None:
        """Stops movable attempts whose lease ran out without contact with the coordinator: they may run elsewhere."""
        for found in self._found.values():
            lease_over = found.lease is not None and self._table.now - renewed_at > found.lease
            if lease_over and found.attempt not in self._over:
                logger.warning("stopping an attempt whose lease is over", extra={"attempt": found.attempt})
                self._over.add(found.attempt)
                self._table.instruct(GiveUpLeftover(found.attempt))

    def gave_up(self, attempt: str, removed: bool) -> None:
        """The outcome of GiveUpLeftover. Reports the attempt to the coordinator only once nothing of it is left; a
        failed removal is tried again with the next tick.
        """
        self._over.discard(attempt)
        if removed and attempt in self._found:
            del self._found[attempt]
            self._stops.pop(attempt, None)
            self._table.known.discard(attempt)
            self._table.send(m.JobReturned(attempt=attempt))
