"""Stops attempts: the precedence of reasons, the means, and the time limits. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable

from daemon.attempts.attempt import NOT_BEGUN, OVER, Attempt, Phase
from daemon.attempts.instructions import Kill, Prolong, StopRunner, StopScript
from daemon.attempts.result import Result, StopReason
from daemon.attempts.table import AttemptTable, CoreSettings
from protocol import messages as m
from protocol.statuses import ExecutionStatus

PREPARE_CANCEL_BOUND = 3.0
"""Seconds until a cancel is reported even if the engine (pulling an image, say) still works on the attempt."""
KILL_SLACK = 5.0
"""Seconds beyond grace and after_script before a container that was asked to stop is killed."""

logger = logging.getLogger(__name__)


class Stopper:
    """Stops attempts. `finished` reports a final status."""

    def __init__(self, settings: CoreSettings, table: AttemptTable, finished: Callable[[str, Result], None]) -> None:
        self._settings = settings
        self._table = table
        self._finished = finished

    def stop(self, attempt: Attempt, why: StopReason) -> None:
        """Stops an attempt in any phase. The first reason counts, but cancel overrides timeout, and discard any."""
        if attempt.stop in (StopReason.DISCARD, StopReason.LEAVE):
            return
        if why is not StopReason.DISCARD and (attempt.stop not in (None, StopReason.TIMEOUT) or attempt.phase in OVER):
            return
        logger.info("stopping an attempt: %s", why.value, extra={"attempt": attempt.id})
        before, attempt.stop = attempt.stop, why
        if not attempt.has_runner:
            self._drop(attempt, why)
            return
        self._table.instruct(StopRunner(attempt.id, why))
        if why is StopReason.CANCEL and attempt.phase in NOT_BEGUN:
            self._set_deadline(
                attempt,
                PREPARE_CANCEL_BOUND,
                lambda: self._finished(attempt.id, Result(status=ExecutionStatus.CANCELED)),
            )
        elif attempt.phase is Phase.RUNNING and before is None:
            self.stop_script(attempt)
        elif attempt.phase is Phase.RUNNING and why is StopReason.DISCARD:
            self._table.instruct(Kill(attempt.id))

    def _drop(self, attempt: Attempt, why: StopReason) -> None:
        """Stops an attempt without a runner, and so without anything on the engine."""
        if why is StopReason.CANCEL:
            self._finished(attempt.id, Result(status=ExecutionStatus.CANCELED))
            return
        self._table.forget(attempt)
        if why in (StopReason.RETURN, StopReason.LEASE):
            self._table.send(m.JobReturned(attempt=attempt.id))

    def stop_script(self, attempt: Attempt) -> None:
        """Stops a released attempt's script according to `attempt.stop`: with grace, at once, or not at all."""
        if attempt.stop is StopReason.LEAVE:
            return
        if attempt.stop not in (StopReason.CANCEL, StopReason.TIMEOUT):
            self._table.instruct(Kill(attempt.id))
            return
        grace = self._settings.grace
        self._table.instruct(StopScript(attempt.id, grace, attempt.stop is StopReason.CANCEL))
        after = attempt.after_seconds or self._settings.after_script_timeout
        bound = grace + (after if attempt.assignment.job.after_script else 0.0) + KILL_SLACK
        self._set_deadline(attempt, bound, lambda: self._table.instruct(Kill(attempt.id)))

    def keep_lease(self, attempt: Attempt, left: float) -> None:
        """Stops an attempt whose lease is over; a running one may continue in its container for `left` seconds."""
        if left < 0:
            self.stop(attempt, StopReason.LEASE)
        elif attempt.phase is Phase.RUNNING and attempt.stop is None and attempt.has_runner:
            self._table.instruct(Prolong(attempt.id, left))

    def run_out_after(self, attempt: Attempt, seconds: float) -> None:
        """The attempt has `seconds` left of its timeout."""
        self._set_deadline(attempt, seconds, lambda: self.stop(attempt, StopReason.TIMEOUT))

    def _set_deadline(self, attempt: Attempt, seconds: float, action: Callable[[], None]) -> None:
        if attempt.deadline:
            attempt.deadline.cancel()
        attempt.deadline = self._table.timers.at(self._table.now + seconds, action)
