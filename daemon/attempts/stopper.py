"""How attempts are stopped: which reason wins over which, by what means, and within which bounds.

Runs in the worker's loop; the engine is asked aside.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from daemon.attempts.attempt import NOT_BEGUN, OVER, Attempt, Phase
from daemon.attempts.result import Result, StopReason
from daemon.runtime.thread_pool import run_in_background
from daemon.runtime.timers import Timers
from daemon.settings import WorkerSettings
from protocol import messages as m
from protocol.statuses import ExecutionStatus

PREPARE_CANCEL_BOUND = 3.0
"""Seconds until a cancel is reported although the engine (pulling an image, say) has not let go of the attempt."""
KILL_SLACK = 5.0
"""Seconds on top of grace and after_script until a container that was asked to stop is killed."""

logger = logging.getLogger(__name__)


class Stopper:
    """`finished` reports a final status, `forget` drops an attempt of which nothing is left."""

    def __init__(
        self,
        settings: WorkerSettings,
        timers: Timers,
        send: Callable[[m.Message, bytes | None], bool],
        finished: Callable[[str, Result], None],
        forget: Callable[[Attempt], None],
    ) -> None:
        self._settings = settings
        self._timers = timers
        self._send = send
        self._finished = finished
        self._forget = forget

    def stop(self, job: Attempt, why: StopReason) -> None:
        """Stops an attempt, whatever it is at. The first reason counts; but cancel outdoes timeout, and discard all."""
        if job.stop in (StopReason.DISCARD, StopReason.LEAVE):
            return
        if why is not StopReason.DISCARD and (job.stop not in (None, StopReason.TIMEOUT) or job.phase in OVER):
            return
        logger.info("stops an attempt: %s", why.value, extra={"attempt": job.attempt})
        before, job.stop = job.stop, why
        if job.runner is None:
            self._drop(job, why)
            return
        job.runner.stop(why)
        if why is StopReason.CANCEL and job.phase in NOT_BEGUN:
            job.deadline = self._timers.at(
                time.monotonic() + PREPARE_CANCEL_BOUND,
                lambda: self._finished(job.attempt, Result(status=ExecutionStatus.CANCELED)),
            )
        elif job.phase is Phase.RUNNING and before is None:
            self.stop_script(job)
        elif job.phase is Phase.RUNNING and why is StopReason.DISCARD:
            run_in_background(job.runner.sandbox.kill)

    def _drop(self, job: Attempt, why: StopReason) -> None:
        """Stops an attempt that has no thread, and so nothing on the engine."""
        if why is StopReason.CANCEL:
            self._finished(job.attempt, Result(status=ExecutionStatus.CANCELED))
            return
        self._forget(job)
        if why in (StopReason.RETURN, StopReason.LEASE):
            self._send(m.JobReturned(attempt=job.attempt), None)

    def stop_script(self, job: Attempt) -> None:
        """Stops the script of a released attempt as `job.stop` says: with grace, at once, or not at all."""
        assert job.runner is not None
        sandbox = job.runner.sandbox
        if job.stop is StopReason.LEAVE:
            return
        if job.stop not in (StopReason.CANCEL, StopReason.TIMEOUT):
            run_in_background(sandbox.kill)
            return
        grace, canceled = self._settings.grace, job.stop is StopReason.CANCEL
        run_in_background(lambda: sandbox.stop(grace, canceled=canceled))
        after = (
            (sandbox.after_seconds or self._settings.after_script_timeout) if job.assignment.job.after_script else 0.0
        )
        if job.deadline:
            job.deadline.cancel()
        bound = time.monotonic() + grace + (after if job.assignment.job.after_script else 0.0) + KILL_SLACK
        job.deadline = self._timers.at(bound, lambda: run_in_background(sandbox.kill))

    def keep_lease(self, job: Attempt, left: float) -> None:
        """Stops an attempt whose lease is over; one that runs may go on in its container for the seconds `left`."""
        if left < 0:
            self.stop(job, StopReason.LEASE)
        elif job.phase is Phase.RUNNING and job.stop is None and job.runner is not None:
            run_in_background(job.runner.sandbox.prolong, left)

    def run_out_after(self, job: Attempt, seconds: float) -> None:
        """The attempt has so many seconds left of its timeout."""
        job.deadline = self._timers.at(time.monotonic() + seconds, lambda: self.stop(job, StopReason.TIMEOUT))
