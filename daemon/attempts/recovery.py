"""What an earlier life of this daemon has left on the engine: finds it, and asks the coordinator what it is.

Knows the executor, requests and messages. What is still wanted is handed on with all that is needed to go on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from daemon.attempts.result import StopReason
from daemon.executors.base import Executor, Found
from daemon.runtime.thread_pool import run_in_background
from daemon.upstream.requests import Answer, Refused, Requests
from protocol import messages as m
from protocol.statuses import ExecutionStatus

STATUSES = {"created": ExecutionStatus.PREPARING, "held": ExecutionStatus.WAITING}
"""What a hello says of a container that was not released yet."""

ASK_AGAIN = 5.0
"""Seconds until a question is asked again that was refused."""

logger = logging.getLogger(__name__)


class RecoveryListener(Protocol):
    """What becomes of a found attempt. Its methods are called in the worker's loop."""

    def adopt(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: StopReason | None) -> None:
        """Go on with it. `stop` is what the coordinator has asked for meanwhile."""

    def unwanted(self, attempt: str) -> None:
        """Nobody wants it; it is being removed."""

    def given_up(self, attempt: str) -> None:
        """It must not go on here, and nothing is left of it."""


class Recovery:
    """Found attempts, until they are adopted or discarded. Runs in the worker's loop; `find` blocks.

    `post` hands a call from any thread to the loop.
    """

    def __init__(
        self, executor: Executor, requests: Requests, keeper: RecoveryListener, post: Callable[..., None]
    ) -> None:
        self._executor = executor
        self._requests = requests
        self._keeper = keeper
        self._post = post
        self._found: dict[str, Found] = {}
        self._over: set[str] = set()  # of them, those whose lease is over, while they are removed
        self._stops: dict[str, StopReason] = {}

    def find(self) -> set[str]:
        """At the start: looks for containers of an earlier life. Returns their attempts."""
        self._found = {found.attempt: found for found in self._executor.find()}
        return set(self._found)

    def __contains__(self, attempt: str) -> bool:
        return attempt in self._found

    def held(self) -> list[m.HeldAttempt]:
        """What a hello says of them."""
        return [
            m.HeldAttempt(attempt=found.attempt, status=STATUSES.get(found.state, ExecutionStatus.RUNNING))
            for found in self._found.values()
        ]

    def get_job_execution(self, attempt: str) -> None:
        """Asks for the assignment of a container, then how the coordinator sees it, then has it adopted."""

        def assigned(reply: m.Message) -> None:
            if isinstance(reply, m.JobExecution) and reply.assignment is not None:
                assignment = reply.assignment
                ask(self._requests, m.GetJobStatus, attempt, lambda status: self._go_on(assignment, status))
            else:
                self.discard(attempt)

        ask(self._requests, m.GetJobExecution, attempt, assigned)

    def _go_on(self, assignment: m.Assignment, reply: m.Message) -> None:
        attempt = assignment.attempt
        if attempt not in self._found or attempt in self._over or not isinstance(reply, m.JobStatusReply):
            return
        if not reply.wanted:
            self.discard(attempt)
            return
        found = self._found.pop(attempt)
        logger.info("takes up an attempt that is %s", found.state, extra={"attempt": attempt})
        self._keeper.adopt(found, assignment, reply, self._stops.pop(attempt, None))

    def stop(self, attempt: str, why: StopReason) -> None:
        """Keeps in mind what is asked for before it is known how to do it."""
        self._stops[attempt] = why

    def discard(self, attempt: str) -> None:
        """Removes an attempt that nobody wants, found or not."""
        self._found.pop(attempt, None)
        self._stops.pop(attempt, None)
        self._keeper.unwanted(attempt)
        run_in_background(self._executor.discard, attempt)

    def tick(self, now: float, renewed_at: float) -> None:
        """Those that move may have begun elsewhere if the coordinator was not heard of for their lease."""
        for found in list(self._found.values()):
            if found.lease is not None and now - renewed_at > found.lease and found.attempt not in self._over:
                logger.warning("stops an attempt whose lease is over", extra={"attempt": found.attempt})
                self._over.add(found.attempt)
                run_in_background(self._give_up, found.attempt)

    def _give_up(self, attempt: str) -> None:
        """In a thread of its own. The coordinator may be told only when nothing is left; if that fails, it is tried
        again with the next tick.
        """
        removed = False
        try:
            self._executor.discard(attempt)
            removed = True
        finally:
            self._post(self._gave_up, attempt, removed)

    def _gave_up(self, attempt: str, removed: bool) -> None:
        self._over.discard(attempt)
        if removed and attempt in self._found:
            del self._found[attempt]
            self._stops.pop(attempt, None)
            self._keeper.given_up(attempt)


def ask(requests: Requests, kind: type[m.Message], attempt: str, then: Callable[[m.Message], None]) -> None:
    """Asks about an attempt; `then` gets the answer, in the loop.

    What is refused is asked again, for the attempt can't go on without it.
    """

    def answered(future: Future[Answer]) -> None:
        try:
            reply = future.result()[0]
        except Refused as error:
            logger.warning("%s was refused: %s", kind.__name__, error, extra={"attempt": attempt})
            requests.call(kind, attempt=attempt, after=ASK_AGAIN).add_done_callback(answered)
        else:
            then(reply)

    requests.call(kind, attempt=attempt).add_done_callback(answered)
