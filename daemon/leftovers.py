"""What an earlier life of this daemon has left on the engine: finds it, and asks the coordinator what it is.

Knows the executor, requests and messages. What is still wanted is handed on with all that is needed to go on with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from daemon.executor import Executor, Found
from daemon.requests import Answer, Refused, Requests
from daemon.result import Stop
from daemon.threads import aside
from protocol import messages as m
from protocol.statuses import ExecutionStatus

STATUSES = {"created": ExecutionStatus.PREPARING, "held": ExecutionStatus.WAITING}
"""What a hello says of a container that was not released yet."""

logger = logging.getLogger(__name__)


class Adopt(Protocol):
    """Goes on with a found attempt. `stop` is what the coordinator has asked for meanwhile."""

    def __call__(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: Stop | None) -> None: ...


class Leftovers:
    """Found attempts, until they are adopted or discarded. Runs in the worker's loop; `find` blocks."""

    def __init__(self, executor: Executor, requests: Requests, adopt: Adopt, gone: Callable[[str], None]) -> None:
        self._executor = executor
        self._requests = requests
        self._adopt = adopt
        self._gone = gone
        self._found: dict[str, Found] = {}
        self._stops: dict[str, Stop] = {}

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
        if attempt not in self._found or not isinstance(reply, m.JobStatusReply):
            return
        if not reply.wanted:
            self.discard(attempt)
            return
        found = self._found.pop(attempt)
        logger.info("takes up an attempt that is %s", found.state, extra={"attempt": attempt})
        self._adopt(found, assignment, reply, self._stops.pop(attempt, None))

    def stop(self, attempt: str, why: Stop) -> None:
        """Keeps in mind what is asked for before it is known how to do it."""
        self._stops[attempt] = why

    def discard(self, attempt: str) -> None:
        """Removes an attempt that nobody wants, found or not."""
        self._found.pop(attempt, None)
        self._stops.pop(attempt, None)
        self._gone(attempt)
        aside(self._executor.discard, attempt)

    def tick(self, now: float, renewed_at: float) -> None:
        """Those that move may have begun elsewhere if the coordinator was not heard of for their lease."""
        for found in list(self._found.values()):
            if found.lease is not None and now - renewed_at > found.lease:
                logger.warning("stops an attempt whose lease is over", extra={"attempt": found.attempt})
                self.discard(found.attempt)


def ask(requests: Requests, kind: type[m.Message], attempt: str, then: Callable[[m.Message], None]) -> None:
    """Asks about an attempt; `then` gets the answer, in the loop."""

    def answered(future: Future[Answer]) -> None:
        try:
            then(future.result()[0])
        except Refused as error:
            logger.warning("%s was refused: %s", kind.__name__, error, extra={"attempt": attempt})

    requests.call(kind, attempt=attempt).add_done_callback(answered)
