"""When the coordinator is told how far attempts are: at once or a moment later, many of them in one message.

Knows jobs and what they have to say, not what it comes to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping

from daemon.attempts.attempt import Attempt, Report, Send
from protocol import messages as m
from protocol.statuses import ExecutionStatus

REPORT_WITHIN = 0.01
"""Seconds within which it is told that an attempt is prepared or runs, unless the line was quiet before. By then it may
have ended, and one frame, one row and one event tell all of it."""
MAY_WAIT = frozenset({ExecutionStatus.PREPARING, ExecutionStatus.RUNNING})


class StatusReporter:
    """For the loop's `jobs`, by attempt."""

    def __init__(self, jobs: Mapping[str, Attempt], send: Send) -> None:
        self._jobs = jobs
        self._send = send
        self._waiting: dict[str, float] = {}  # attempts with new statuses -> until when these wait (monotonic)
        self._urgent: list[str] = []  # those of them that do not wait
        self._told_at = 0.0  # when statuses were last sent (monotonic)

    def add(self, job: Attempt) -> None:
        """A job has a new status to be told."""
        now = time.monotonic()
        if job.status not in MAY_WAIT or now - self._told_at > REPORT_WITHIN:
            self._urgent.append(job.attempt)
        self._waiting.setdefault(job.attempt, now + REPORT_WITHIN)

    @property
    def due(self) -> float:
        """When `tell` has something to do (monotonic); infinite: there is nothing to tell."""
        if self._urgent:
            return 0.0
        return next(iter(self._waiting.values()), math.inf)

    def tell(self, now: float) -> None:
        """Sends the statuses that are due, in as few frames as can be. Once per turn of the loop."""
        if now < self.due:
            return
        due = self._urgent + [attempt for attempt, at in self._waiting.items() if at <= now]
        self._urgent = []
        reports: list[tuple[Attempt, Report]] = []
        for attempt in due:
            if self._waiting.pop(attempt, None) is not None and (job := self._jobs.get(attempt)):
                job.send_log(self._send, now)
                reports += [(job, report) for report in job.due_reports()]
        for together in in_frames(reports):
            statuses = [report.message(job.attempt, now) for job, report in together]
            message = statuses[0] if len(statuses) == 1 else m.JobStatuses(statuses=statuses)
            if self._send(message, None):
                self._told_at = now
                for _, report in together:
                    report.sent = True


def in_frames(reports: list[tuple[Attempt, Report]]) -> Iterator[list[tuple[Attempt, Report]]]:
    """Statuses that go into one frame: many short ones, or a long one by itself."""
    together: list[tuple[Attempt, Report]] = []
    for one in reports:
        if not one[1].short:
            if together:
                yield together
            yield [one]
            together = []
            continue
        together.append(one)
        if len(together) == m.MOST_STATUSES:
            yield together
            together = []
    if together:
        yield together
