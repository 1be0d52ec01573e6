"""Batches attempts' statuses for the coordinator: sent at once or a moment later, many in one message. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from daemon.attempts.attempt import Attempt, Report
from daemon.attempts.table import AttemptTable
from protocol import messages as m
from protocol.statuses import ExecutionStatus

REPORT_WITHIN = 0.01
"""Seconds within which `preparing` and `running` are reported, unless the line was quiet before. By then the attempt
may have ended, and one frame, one row and one event cover all of it."""
MAY_WAIT = frozenset({ExecutionStatus.PREPARING, ExecutionStatus.RUNNING})


class StatusReporter:
    """Sends the statuses of the table's attempts."""

    def __init__(self, table: AttemptTable) -> None:
        self._table = table
        self._waiting: dict[str, float] = {}  # attempts with new statuses -> end of their wait (monotonic)
        self._urgent: list[str] = []  # those that do not wait
        self._sent_at = -math.inf  # time of the last send (monotonic)

    def add(self, attempt: Attempt) -> None:
        """Queues an attempt's new status."""
        now = self._table.now
        if attempt.status not in MAY_WAIT or now - self._sent_at > REPORT_WITHIN:
            self._urgent.append(attempt.id)
        self._waiting.setdefault(attempt.id, now + REPORT_WITHIN)

    @property
    def due(self) -> float:
        """Time at which `report` has work (monotonic); infinite if nothing is to be reported."""
        if self._urgent:
            return 0.0
        return next(iter(self._waiting.values()), math.inf)

    def report(self) -> None:
        """Sends the due statuses in as few frames as possible. Called once per loop turn."""
        table = self._table
        if table.now < self.due:
            return
        due = self._urgent + [attempt for attempt, at in self._waiting.items() if at <= table.now]
        self._urgent = []
        reports: list[tuple[Attempt, Report]] = []
        for id in due:
            if self._waiting.pop(id, None) is not None and (attempt := table.attempts.get(id)):
                attempt.send_log(table.send, table.now)
                reports += [(attempt, report) for report in attempt.due_reports()]
        for together in in_frames(reports):
            statuses = [report.message(attempt.id, table.now) for attempt, report in together]
            if table.send(statuses[0] if len(statuses) == 1 else m.JobStatuses(statuses=statuses)):
                self._sent_at = table.now
                for _, report in together:
                    report.sent = True


def in_frames(reports: list[tuple[Attempt, Report]]) -> Iterator[list[tuple[Attempt, Report]]]:
    """Groups statuses by frame: many short ones, or one long one."""
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
