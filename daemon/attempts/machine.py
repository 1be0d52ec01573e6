"""The worker's core: events of its attempts as methods, effects as instructions. Pure.

Each event carries the time (`now`, monotonic seconds), changes the table and appends instructions; `take` returns them.
Like the coordinator's engine, it reads no clock, starts no thread and knows neither socket nor engine. `manager`
connects it to the outside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial

from daemon.attempts.admission import free_slot, to_admit, to_open
from daemon.attempts.attempt import NOT_BEGUN, Attempt, Phase
from daemon.attempts.instructions import (
    HoldAtGate,
    Instruction,
    OpenGate,
    Prefetch,
    ReadLogAgain,
    Settle,
    StartRunner,
    StopRunner,
)
from daemon.attempts.recovery import Recovery
from daemon.attempts.result import Result, ResumePoint, StopReason
from daemon.attempts.status_reporter import StatusReporter
from daemon.attempts.stopper import Stopper
from daemon.attempts.table import AttemptTable, CoreSettings
from daemon.executors.base import Found
from daemon.logs.log import FLUSH_BYTES, Log
from protocol import messages as m
from protocol.names import CHUNK_BYTES
from protocol.statuses import ExecutionStatus, FailureReason

FLUSH_AFTER = 0.05
"""Seconds that log bytes wait to be sent together, unless the line was quiet before."""
LOG_GATHERS = 0.002
"""Minimum wait of log bytes in seconds: a script's last output then leaves together with the report of its end."""

logger = logging.getLogger(__name__)


class AttemptMachine:
    """All attempts on this worker. `open_log` creates a new attempt's log; `first_seq` exceeds all status numbers of
    earlier daemon processes.
    """

    def __init__(self, settings: CoreSettings, open_log: Callable[[str], Log], first_seq: int) -> None:
        self.stopping = False  # no new attempts are accepted
        self.in_reach = False  # a connection stands, though the coordinator may not have welcomed us on it yet
        self._settings = settings
        self._open_log = open_log
        self._first_seq = first_seq
        self._table = AttemptTable()
        self._stopper = Stopper(settings, self._table, self._finished)
        self._recovery = Recovery(self._table, self)
        self._reporter = StatusReporter(self._table)
        self._may_go_on = False
        self._just_prepared: list[Attempt] = []

    # state

    def __len__(self) -> int:
        return len(self._table.attempts)

    def take(self) -> list[Instruction]:
        """The instructions since the last call, in order."""
        return self._table.take()

    @property
    def known(self) -> set[str]:
        """Attempts that a sweep must not remove; a live set that another thread may read."""
        return self._table.known

    @property
    def due(self) -> float:
        """Time at which `wake` or `flush` has work (monotonic); infinite if only an event brings some."""
        return min(self._table.timers.next(), self._reporter.due)

    def held(self) -> list[m.HeldAttempt]:
        """The attempts that a hello lists: all with a trace on this worker."""
        mine = [m.HeldAttempt(attempt=one.id, status=one.status) for one in self._table.attempts.values()]
        return self._recovery.held() + mine

    def descriptions(self) -> list[str]:
        """One line per attempt, for people."""
        left = [f"{held.attempt} was found here, {held.status}; not resumed yet" for held in self._recovery.held()]
        return left + [str(attempt) for attempt in self._table.attempts.values()]

    def unfinished(self) -> list[str]:
        """Attempts whose containers continue when the daemon leaves."""
        begun = [attempt.id for attempt in self._table.attempts.values() if attempt.phase not in NOT_BEGUN]
        return [held.attempt for held in self._recovery.held()] + begun

    @property
    def removing(self) -> bool:
        """Whether a removal is in progress, or waits only for the coordinator's word."""
        return any(
            attempt.stop is StopReason.DISCARD
            or (attempt.stop is not StopReason.LEAVE and (attempt.phase in NOT_BEGUN or self._almost_gone(attempt)))
            for attempt in self._table.attempts.values()
        )

    def _almost_gone(self, attempt: Attempt) -> bool:
        """Whether only an acknowledgement, from a coordinator in reach, and the removal are left."""
        return attempt.settled or (attempt.phase is Phase.REPORTED and self.in_reach)

    # the coordinator's connection

    def found(self, found: Iterable[Found]) -> None:
        """At the start: containers of an earlier process. The welcome decides which of them are still wanted."""
        self._recovery.found(found)

    def disconnected(self) -> None:
        """The connection is lost: delivery of sent messages is now unknown."""
        self._table.connected = False
        for attempt in self._table.attempts.values():
            attempt.synced = False

    def welcomed(self, keep: set[str], listed: set[str], now: float) -> None:
        """Of the attempts that the hello `listed`, the coordinator wants `keep`. Asks about all others."""
        self._table.now = now
        self._table.connected = True
        for attempt in listed - keep:
            self._discard(attempt)
        for attempt in keep - self._table.known:  # returned since the hello
            self._table.send(m.JobReturned(attempt=attempt))
        for attempt in keep:
            if attempt in self._recovery:
                self._recovery.get_job_execution(attempt)
        for mine in list(self._table.attempts.values()):
            self.get_job_status(mine)

    def answered(self, number: int, reply: m.Message, now: float) -> None:
        """The coordinator has answered an `Ask`."""
        self._table.now = now
        self._table.answered(number, reply)
        self._may_go_on = True  # an earlier process's leftovers may have freed a place

    def refused(self, number: int, now: float) -> None:
        """The coordinator could not answer an `Ask`."""
        self._table.now = now
        self._table.refused(number)

    # leftovers of an earlier process

    def adopt(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: StopReason | None) -> None:
        """Resumes an attempt of an earlier process from the state of its container and of the coordinator."""
        now = self._table.now
        attempt = self._new_attempt(assignment)
        attempt.seq = max(attempt.seq, reply.status_seq)
        attempt.log.restart(reply.log_offset)
        if found.state in ("running", "exited"):
            attempt.phase = Phase.RUNNING
            attempt.slot = found.slot
            attempt.status = ExecutionStatus.RUNNING
            if reply.status is not ExecutionStatus.RUNNING:
                attempt.report(ExecutionStatus.RUNNING, found.released_mono)
            if found.state == "running" and not found.over:
                self._stopper.run_out_after(attempt, found.released_mono + assignment.job.timeout - now)
            self._start(attempt, ResumePoint.RELEASED)
        else:
            attempt.phase = Phase.PREPARING
            attempt.report(self._waiting_status(attempt), now)
            self._start(attempt, ResumePoint.HELD if found.state == "held" else ResumePoint.NEW)
        self._job_status(attempt, reply)
        if stop is not None and (stop is not StopReason.RETURN or attempt.phase in NOT_BEGUN):
            self._stopper.stop(attempt, stop)

    def gave_up(self, attempt: str, removed: bool, now: float) -> None:
        """A `GiveUpLeftover` was carried out."""
        self._table.now = now
        self._recovery.gave_up(attempt, removed)
        self._may_go_on = True

    # the coordinator's view of an attempt

    def get_job_status(self, attempt: Attempt) -> None:
        """Asks for the coordinator's view of an attempt, to resend only the missing part."""
        self._table.ask(m.GetJobStatus, attempt.id, partial(self._job_status, attempt))

    def _job_status(self, attempt: Attempt, reply: m.Message) -> None:
        table = self._table
        if table.attempts.get(attempt.id) is not attempt or not isinstance(reply, m.JobStatusReply):
            return
        if not reply.wanted:
            self._discard(attempt.id)
            return
        if reply.log_offset < attempt.log.acknowledged:
            attempt.log.restart(reply.log_offset)
            if attempt.has_runner:
                table.instruct(ReadLogAgain(attempt.id))
        self._acknowledge(attempt, reply.status_seq, reply.log_offset)
        attempt.send_again(table.send, table.now)
        if attempt.phase in NOT_BEGUN:
            self.get_job_dependencies(attempt)

    def get_job_dependencies(self, attempt: Attempt) -> None:
        """Asks for the dependencies' current state: pushed updates may have been lost."""
        self._table.ask(m.GetJobDependencies, attempt.id, partial(self._job_dependencies, attempt))

    def _job_dependencies(self, attempt: Attempt, reply: m.Message) -> None:
        if self._table.attempts.get(attempt.id) is attempt and isinstance(reply, m.JobDependencies):
            for dependency in reply.dependencies:
                self._update_dependency(attempt.id, dependency)

    # the coordinator's orders

    def execute_job(self, assignment: m.Assignment, now: float) -> None:
        """Accepts an attempt; a known one does not run twice."""
        table = self._table
        table.now = now
        attempt = table.attempts.get(assignment.attempt)
        if attempt is not None:
            if attempt.synced:
                attempt.send_again(table.send, now)
        elif assignment.attempt in table.over:
            logger.warning("an attempt that is over was assigned again", extra={"attempt": assignment.attempt})
        elif assignment.attempt in self._recovery:
            self._recovery.get_job_execution(assignment.attempt)
        elif self.stopping:
            table.send(m.JobReturned(attempt=assignment.attempt))
        else:
            attempt = self._new_attempt(assignment)
            if attempt.runnable:
                attempt.runnable_at = now
            self.report_job_status(attempt, self._waiting_status(attempt))
            self._may_go_on = True

    def _new_attempt(self, assignment: m.Assignment) -> Attempt:
        attempt = Attempt(assignment, self._open_log(assignment.attempt), self._first_seq)
        self._table.add(attempt)
        return attempt

    def _waiting_status(self, attempt: Attempt) -> ExecutionStatus:
        return ExecutionStatus.PREPARING if attempt.runnable else ExecutionStatus.WAITING

    def update_dependency(self, attempt: str, dependency: m.Dependency, now: float) -> None:
        """A dependency has ended or changed its state."""
        self._table.now = now
        self._update_dependency(attempt, dependency)

    def _update_dependency(self, id: str, dependency: m.Dependency) -> None:
        attempt = self._table.attempts.get(id)
        if attempt is None or attempt.phase not in NOT_BEGUN:
            return
        attempt.dependencies[dependency.job] = dependency
        if not attempt.runnable:
            attempt.runnable_at = None
            if attempt.has_runner:
                self._table.instruct(Prefetch(id, dependency))
            return
        if attempt.runnable_at is None:
            attempt.runnable_at = self._table.now
        self._may_go_on = True
        self._schedule()
        if attempt.phase in NOT_BEGUN and attempt.status is ExecutionStatus.WAITING:
            self.report_job_status(attempt, ExecutionStatus.PREPARING)

    def acknowledge(self, ack: m.Ack, now: float) -> None:
        """The coordinator has stored something of an attempt durably."""
        self._table.now = now
        attempt = self._table.attempts.get(ack.attempt)
        if attempt is not None and ack.stream == "job":
            if attempt.lost(ack.log_offset):
                attempt.synced = False
                self.get_job_status(attempt)
            elif attempt.lacks(ack.log_offset, now):
                attempt.send_again(self._table.send, now)
            self._acknowledge(attempt, ack.status_seq, ack.log_offset)

    def _acknowledge(self, attempt: Attempt, seq: int | None, log_offset: int | None) -> None:
        if attempt.acknowledged(seq=seq, log_offset=log_offset, now=self._table.now):
            self._table.remember_over(attempt)
            if attempt.has_runner:
                self._table.instruct(Settle(attempt.id, attempt.finished_at))
            else:
                self._table.forget(attempt)

    def cancel(self, attempt: str, now: float) -> None:
        """Stops an attempt; a final status follows, `canceled` unless it has already ended."""
        self._table.now = now
        self._stop(attempt, StopReason.CANCEL)

    def revoke(self, attempt: str, now: float) -> None:
        """Returns an attempt, if it has not begun."""
        self._table.now = now
        mine = self._table.attempts.get(attempt)
        if mine is None or mine.phase in NOT_BEGUN:
            self._stop(attempt, StopReason.RETURN)

    def discard(self, attempt: str, now: float) -> None:
        """Removes all of an attempt and reports nothing."""
        self._table.now = now
        self._discard(attempt)

    def _discard(self, attempt: str) -> None:
        if attempt in self._table.attempts:
            self._stop(attempt, StopReason.DISCARD)
        else:
            self._recovery.discard(attempt)
            self._may_go_on = True

    def _stop(self, attempt: str, why: StopReason) -> None:
        if mine := self._table.attempts.get(attempt):
            self._stopper.stop(mine, why)
        elif attempt in self._recovery:
            self._recovery.stop(attempt, why)

    # shutdown

    def return_not_begun(self, now: float) -> None:
        """Accepts no new attempts, and removes those that have not begun."""
        self._table.now = now
        self.stopping = True
        for attempt in list(self._table.attempts.values()):
            if attempt.phase in NOT_BEGUN:
                self._stopper.stop(attempt, StopReason.RETURN)

    def leave(self, now: float) -> None:
        """The daemon leaves: attempts that have begun stay as they are, and their threads are abandoned. Those whose
        end is being acknowledged are removed first: whoever has seen their run end may be who ends this daemon.
        """
        self.return_not_begun(now)
        for attempt in self._table.attempts.values():
            stays = attempt.has_runner and attempt.phase not in NOT_BEGUN and not self._almost_gone(attempt)
            if stays and attempt.stop is not StopReason.DISCARD:
                attempt.stop = StopReason.LEAVE
                self._table.instruct(StopRunner(attempt.id, StopReason.LEAVE))

    # time

    def tick(self, renewed_at: float, now: float) -> None:
        """About once a second: resends unacknowledged messages and stops attempts whose lease is over.

        Leases of movable jobs count from `renewed_at`.
        """
        self._table.now = now
        self._recovery.tick(renewed_at)
        for attempt in list(self._table.attempts.values()):
            if attempt.overdue(now, self._settings.ack_timeout):
                attempt.send_again(self._table.send, now)
            if attempt.assignment.lease is not None:
                self._stopper.keep_lease(attempt, renewed_at + attempt.assignment.lease - now)

    def wake(self, now: float) -> None:
        """Handles expired deadlines, and log bytes that have waited long enough."""
        self._table.now = now
        for action in self._table.timers.due(now):
            action()

    def flush(self, now: float) -> None:
        """The end of a loop turn: reports statuses, and starts and opens the attempts that may continue."""
        self._table.now = now
        self._reporter.report()
        self._schedule()

    def _schedule(self) -> None:
        """Prepares, opens and holds as many attempts as there are places."""
        settings, attempts = self._settings, self._table.attempts
        while self._may_go_on:
            self._may_go_on = False
            slots = max(0, settings.slots - self._recovery.running)
            for attempt in to_admit(attempts.values(), slots, settings.ahead, settings.runners):
                attempt.phase = Phase.PREPARING
                self._start(attempt, ResumePoint.NEW)
            for attempt in to_open(attempts.values(), slots):
                slot = free_slot(attempt.assignment.project, attempts.values(), self._recovery.slots)
                attempt.slot = slot
                attempt.phase = Phase.OPENED
                self._table.instruct(OpenGate(attempt.id, list(attempt.dependencies.values()), slot))
        for attempt in self._just_prepared:
            if settings.holds and attempt.phase is Phase.READY and attempt.has_runner:
                self._table.instruct(HoldAtGate(attempt.id))
        self._just_prepared.clear()

    def _start(self, attempt: Attempt, resume_point: ResumePoint) -> None:
        attempt.has_runner = True
        self._table.instruct(StartRunner(attempt.assignment, resume_point))
        for dependency in attempt.dependencies.values():
            if dependency.artifacts and not attempt.runnable:
                self._table.instruct(Prefetch(attempt.id, dependency))

    def failed_to_start(self, attempt: str, reason: FailureReason, message: str, now: float) -> None:
        """A `StartRunner` failed."""
        self._table.now = now
        if mine := self._table.attempts.get(attempt):
            mine.has_runner = False
            self._finished(attempt, Result(status=ExecutionStatus.FAILED, failure_reason=reason, message=message))

    def report_job_status(self, attempt: Attempt, status: ExecutionStatus, result: Result | None = None) -> None:
        """Reports a status, repeatedly until the coordinator has acknowledged it."""
        attempt.report(status, self._table.now, result)
        self._reporter.add(attempt)

    # news from runners

    def prepared(self, attempt: str, now: float) -> None:
        """Its container exists."""
        self._table.now = now
        mine = self._table.attempts.get(attempt)
        if mine is not None and mine.stop is None:
            mine.phase = Phase.READY
            self._just_prepared.append(mine)
            self._may_go_on = True

    def took_up(self, attempt: str, after_seconds: float | None, now: float) -> None:
        """A runner has resumed a script that an earlier process started; `after_seconds` as for `started`."""
        self._table.now = now
        if mine := self._table.attempts.get(attempt):
            mine.after_seconds = after_seconds

    def started(self, attempt: str, after_seconds: float | None, now: float) -> None:
        """Its gate is open; its timeout runs. `after_seconds` limits its after_script, if the job sets a limit."""
        self._table.now = now
        if mine := self._table.attempts.get(attempt):
            mine.phase = Phase.RUNNING
            mine.after_seconds = after_seconds
            self.report_job_status(mine, ExecutionStatus.RUNNING)
            if mine.stop is None:
                self._stopper.run_out_after(mine, mine.assignment.job.timeout)
            else:
                self._stopper.stop_script(mine)

    def ended(self, attempt: str, now: float) -> None:
        """Its container has ended; its slot is free."""
        self._table.now = now
        if mine := self._table.attempts.get(attempt):
            mine.phase = Phase.ENDED
            if mine.deadline:
                mine.deadline.cancel()
            self._may_go_on = True

    def finished(self, attempt: str, result: Result, now: float) -> None:
        """Only the acknowledgement of its result is left."""
        self._table.now = now
        self._finished(attempt, result)

    def _finished(self, id: str, result: Result) -> None:
        attempt = self._table.attempts.get(id)
        if attempt is None or attempt.final:
            return
        attempt.phase = Phase.REPORTED
        attempt.finished_at = self._table.now
        if attempt.deadline:
            attempt.deadline.cancel()
        self.report_job_status(attempt, result.status, result)
        self._may_go_on = True

    def service_log(self, attempt: str, alias: str, data: bytes, now: float) -> None:
        """The whole (bounded) log of one of its services."""
        self._table.now = now
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = m.LogChunk(attempt=attempt, offset=at, stream=f"service-{alias}")
            self._table.send(chunk, data[at : at + CHUNK_BYTES])

    def gone(self, attempt: str, now: float) -> None:
        """Nothing of it is left on this host."""
        self._table.now = now
        if mine := self._table.attempts.get(attempt):
            self._table.forget(mine)
            if mine.stop in (StopReason.RETURN, StopReason.LEASE) and not mine.final:
                self._table.send(m.JobReturned(attempt=attempt))
            self._may_go_on = True

    def log_ready(self, attempt: str, now: float) -> None:
        """Log bytes wait to be sent."""
        self._table.now = now
        mine = self._table.attempts.get(attempt)
        if mine is None or not mine.log.waiting:
            return
        if mine.log.waiting >= FLUSH_BYTES:
            mine.send_log(self._table.send, now)
        elif mine.flush is None or mine.flush.action is None:
            at = max(mine.flushed_at + FLUSH_AFTER, now + LOG_GATHERS)
            mine.flush = self._table.timers.at(at, lambda: mine.send_log(self._table.send, self._table.now))
