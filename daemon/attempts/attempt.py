"""One attempt's state in the worker's core: its phase, and its statuses and log bytes not yet acknowledged.

Pure: the log is offsets and chunks, time is an argument, messages go through the caller's `send`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from daemon.attempts.result import Result, StopReason
from daemon.executors.base import Slot
from daemon.logs.log import Log
from daemon.runtime.timers import Timer
from protocol import messages as m
from protocol.log_times import LogPiece, encode
from protocol.statuses import ENDED, ExecutionStatus

Send = Callable[[m.Message, "bytes | None"], bool]

MAX_ACK_TIMEOUT = 30.0
"""Limit in seconds of the growing wait for an acknowledgement: a coordinator that is only slow must not be flooded."""
SEND_AGAIN_AFTER = 1.0
"""Seconds since the last progress after which an acknowledgement without progress means that bytes were lost."""


class Phase(str, Enum):
    """An attempt's progress on this worker. A str too, for a fast hash."""

    QUEUED = "queued"  # accepted; no place to prepare it yet
    PREPARING = "preparing"  # its thread pulls the image and creates the container
    READY = "ready"  # prepared; waits for its dependencies or a slot, held at its gate
    OPENED = "opened"  # its thread unpacks the artifacts and opens the gate; takes a slot from here on
    RUNNING = "running"
    ENDED = "ended"  # the container has ended; log and artifacts are in transfer
    REPORTED = "reported"  # the final status awaits its acknowledgement


TAKES_SLOT = frozenset({Phase.OPENED, Phase.RUNNING})
NOT_BEGUN = frozenset({Phase.QUEUED, Phase.PREPARING, Phase.READY})
"""Phases before the script begins, in which the attempt can still be returned."""
OVER = frozenset({Phase.ENDED, Phase.REPORTED})


class Report(msgspec.Struct):
    """An unacknowledged status."""

    seq: int
    status: ExecutionStatus
    happened: float  # monotonic
    result: Result | None  # of a final status
    sent: bool = False

    @property
    def short(self) -> bool:
        """Whether it carries only words and numbers."""
        result = self.result
        if result is None:
            return True
        long = (result.message, result.artifacts, result.dotenv, result.tests, result.reports, result.release)
        return not any(long) and result.kept is None

    def message(self, attempt: str, now: float) -> m.JobStatus:
        ago = max(0.0, now - self.happened)
        if self.result is None:
            return m.JobStatus(attempt=attempt, seq=self.seq, status=self.status, ago=ago)
        return m.JobStatus(
            attempt=attempt,
            seq=self.seq,
            status=self.status,
            ago=ago,
            exit_code=self.result.exit_code,
            failure_reason=self.result.failure_reason,
            message=self.result.message,
            log_length=self.result.log_length,
            artifacts=self.result.artifacts,
            dotenv=self.result.dotenv,
            tests=self.result.tests,
            test_results=self.result.test_results,
            reports=self.result.reports,
            coverage=self.result.coverage,
            release=self.result.release,
            pages=self.result.pages,
            kept=self.result.kept,
        )


class Attempt(msgspec.Struct, eq=False):
    """One attempt on this worker. `seq` is the sequence number of its newest status."""

    assignment: m.Assignment
    log: Log
    seq: int
    phase: Phase = Phase.QUEUED
    status: ExecutionStatus = ExecutionStatus.PENDING
    has_runner: bool = False  # from PREPARING on, unless starting one failed
    dependencies: dict[str, m.Dependency] = {}
    slot: Slot | None = None  # of one that has begun; None if an earlier process has left no note of it
    runnable_at: float | None = None  # time at which the last dependency was satisfied
    finished_at: float = 0.0  # time of its result
    stop: StopReason | None = None
    after_seconds: float | None = None  # limit of its after_script, if the job sets one
    synced: bool = True  # the coordinator's view is known; after a reconnect only once it has answered
    reports: list[Report] = []
    progress_at: float = 0.0  # time of the last acknowledgement, or of the first send after all was acknowledged
    patience: float = 0.0  # seconds until unacknowledged messages are resent
    flushed_at: float = 0.0
    flush: Timer | None = None
    deadline: Timer | None = None  # of the job's timeout, then of its stop

    def __post_init__(self) -> None:
        for dependency in self.assignment.dependencies:
            self.dependencies[dependency.job] = dependency

    def __str__(self) -> str:
        """The attempt's state in one line, for troubleshooting."""
        log = self.log
        parts = [
            f"{self.id} is {self.phase.value}, {self.status}",
            f"log: {log.end} bytes read, {log.sent} sent, {log.acknowledged} acknowledged",
            *(f"{one.status} ({one.seq}) {'not acknowledged' if one.sent else 'not sent'}" for one in self.reports),
        ]
        if not self.runnable:
            waits = [name for name, dependency in self.dependencies.items() if not dependency.satisfied]
            parts.append(f"waits for {', '.join(waits)}")
        if self.stop is not None:
            parts.append(f"stopping: {self.stop.value}")
        if not self.synced:
            parts.append("the coordinator's view of it is unknown")
        return "; ".join(parts)

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.assignment.attempt

    @property
    def runnable(self) -> bool:
        """Whether all its dependencies are satisfied."""
        return all(dependency.satisfied for dependency in self.dependencies.values())

    @property
    def final(self) -> bool:
        """Whether it has its final status."""
        return self.status in ENDED

    @property
    def settled(self) -> bool:
        """Whether the coordinator has all of it; only the removal is left."""
        return self.final and not self.reports

    def report(self, status: ExecutionStatus, now: float, result: Result | None = None) -> None:
        """Queues a status for `send`."""
        self.seq += 1
        self.status = status
        self.reports.append(Report(self.seq, status, now, result))

    def send(self, send: Send, now: float) -> None:
        """Sends everything unsent: log bytes first, then statuses; the final status only after the whole log."""
        self.send_log(send, now)
        for report in self.due_reports():
            report.sent = send(report.message(self.id, now), None)

    def send_log(self, send: Send, now: float) -> None:
        """Sends the unsent log bytes."""
        if not self.synced:
            return
        if not self.in_flight:
            self.progress_at = now
        for piece in self.log.take():
            self.flushed_at = now
            self._send_piece(send, piece)

    def _send_piece(self, send: Send, piece: LogPiece) -> None:
        times = encode(piece.marks, piece.offset)
        send(m.LogChunk(attempt=self.id, offset=piece.offset, times=times), bytes(piece.data))

    def due_reports(self) -> list[Report]:
        """Unsent statuses whose preceding log bytes have been sent."""
        if not self.synced:
            return []
        return [
            report
            for report in self.reports
            if not report.sent and (report.result is None or self.log.sent >= report.result.log_length)
        ]

    @property
    def in_flight(self) -> bool:
        """Whether a sent message is unacknowledged."""
        return self.log.unacknowledged or any(report.sent for report in self.reports)

    def send_again(self, send: Send, now: float) -> None:
        """Sends everything unacknowledged again, from the start."""
        self.synced = True
        self.progress_at = now
        for piece in self.log.again():
            self._send_piece(send, piece)
        for report in self.reports:
            report.sent = False
        self.send(send, now)

    def overdue(self, now: float, ack_timeout: float) -> bool:
        """Whether something, sent or not, has gone unacknowledged for too long; each time doubles the wait."""
        if not self.synced or not (self.log.unacknowledged or self.reports):
            return False
        self.patience = self.patience or ack_timeout
        if now - self.progress_at < self.patience:
            return False
        self.patience = min(self.patience * 2, MAX_ACK_TIMEOUT)
        return True

    def lacks(self, log_offset: int | None, now: float) -> bool:
        """Whether an acknowledgement shows log bytes lost in transit: it repeats the one before."""
        stands = log_offset == self.log.acknowledged and self.log.unacknowledged
        return stands and self.synced and now - self.progress_at > SEND_AGAIN_AFTER

    def lost(self, log_offset: int | None) -> bool:
        """Whether an acknowledgement shows that the coordinator has lost log bytes that it had acknowledged."""
        return self.synced and log_offset is not None and log_offset < self.log.acknowledged

    def acknowledged(self, *, seq: int | None, log_offset: int | None, now: float) -> bool:
        """Handles an acknowledgement. Returns whether it covers the final status."""
        news = log_offset is not None and self.log.acknowledge(log_offset)
        if seq is not None and self.reports and self.reports[0].seq <= seq:
            self.reports = [report for report in self.reports if report.seq > seq]
            news = True
        if news:
            self.progress_at = now
            self.patience = 0.0
        return self.settled
