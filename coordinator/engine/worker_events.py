"""Worker events: hello, goodbye, status reports, returned attempts, silence and loss. Pure.

Reports are accepted only from the worker that holds the attempt, only once, and a final status only after its log is
complete.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.engine.assignments import dependencies, moves, refers_to
from coordinator.engine.flow import Flow
from coordinator.engine.kept_containers import KeptContainers
from coordinator.engine.ledger import Ledger
from coordinator.engine.results import published, with_expiry
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.settings import Settings
from coordinator.engine.state import AttemptState, JobState, WorkerState
from coordinator.engine.transitions import JobEvent, may
from protocol import messages as m
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S

PROGRESS = {S.WAITING: JobEvent.HOLD, S.PREPARING: JobEvent.PREPARE, S.RUNNING: JobEvent.START}
"""Events of the non-final statuses that a worker reports."""


class WorkerEvents:
    """The engine's half for workers."""

    def __init__(
        self, ledger: Ledger, scheduler: Scheduler, flow: Flow, kept: KeptContainers, settings: Settings
    ) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._flow = flow
        self._kept = kept
        self._settings = settings
        self.grace_until = 0.0  # monotonic: no worker counts as lost before, as the coordinator itself was down

    # connection

    def worker_hello(self, hello: m.Hello) -> list[str]:
        """Registers a new or returning worker. Returns those of its attempts that it keeps."""
        worker = self._ledger.workers.get(hello.name)
        if worker is None:
            worker = self._ledger.workers[hello.name] = WorkerState(name=hello.name)
        worker.labels, worker.run_untagged = list(hello.labels), hello.run_untagged
        worker.slots, worker.executor = hello.slots, hello.executor
        worker.online = True
        worker.disk_low = False
        self._seen(worker)
        self._ledger.touch_worker(worker)
        self._scheduler.wake()
        reported = {held.attempt: held.status for held in hello.attempts}
        for attempt in list(worker.attempts.values()):
            self._reconcile(worker, attempt, present=attempt.id in reported)
        if worker.draining:
            self._ledger.send(worker.name, m.Drain())
        return [attempt for attempt in reported if attempt in worker.attempts]

    def _reconcile(self, worker: WorkerState, attempt: AttemptState, *, present: bool) -> None:
        found = self._ledger.find_attempt(attempt.id)
        if found is None:
            self._ledger.detach(attempt)
            return
        job = found[0]
        if not present and attempt.canceling:
            self._flow.end_attempt(attempt, S.CANCELED, None, None)
            self._flow.end(job, JobEvent.CANCEL, f"canceled; nothing of it is left on {worker.name}")
        elif not present and attempt.revoking:
            self._flow.give_back(job, attempt, f"{worker.name} no longer has it")
        elif not present and job.status is S.RUNNING:
            text = f"its container is gone from {worker.name}"
            self._fail(job, attempt, FailureReason.RUNNER_SYSTEM_FAILURE, text)
        elif not present:
            attempt.status, attempt.status_seq = S.PENDING, 0  # it starts over there, with status_seq from 1
            self._ledger.touch_attempt(attempt)
            self._scheduler.send_assignment(job, attempt)
        elif attempt.canceling:
            self._ledger.send(worker.name, m.CancelJob(attempt=attempt.id))
        elif attempt.revoking:
            self._ledger.send(worker.name, m.RevokeJob(attempt=attempt.id))

    def worker_goodbye(self, name: str, goodbye: m.Goodbye) -> None:
        """Registers a worker's orderly exit; the attempts that it keeps continue without it."""
        worker = self._ledger.workers.get(name)
        if worker is not None:
            self._go_offline(worker, keeps=set(goodbye.keeps))

    def worker_shut_out(self, name: str, revoked_at: float | None) -> None:
        """Fails the attempts of a worker whose key was revoked: it can't report on them any more.

        A job that moves must still wait for its lease, which ends its container; see `_check_lost`. `revoked_at` (wall
        clock) is for a past revocation: attempts assigned later belong to another worker of the same name, and stay.
        """
        worker = self._ledger.workers.get(name)
        if worker is None:
            return
        self._go_offline(worker, keeps=set(worker.attempts))
        for attempt in list(worker.attempts.values()):
            found = self._ledger.find_attempt(attempt.id)
            later = revoked_at is not None and (attempt.assigned_at or 0.0) > revoked_at
            if found is not None and not moves(found[0]) and not later:
                text = f"the key of worker {name} was revoked"
                self._fail(found[0], attempt, FailureReason.RUNNER_SYSTEM_FAILURE, text)

    def worker_heard(self, name: str, *, disk_low: bool | None, held: Sequence[m.HeldAttempt] | None) -> None:
        """Records a sign of life of a worker, and a heartbeat's contents."""
        worker = self._ledger.workers.get(name)
        if worker is None:
            return
        self._seen(worker)
        if disk_low is not None and disk_low != worker.disk_low:
            worker.disk_low = disk_low
            self._ledger.touch_worker(worker)
            self._scheduler.wake()
        if held is not None:
            self._compare(worker, held)

    def _compare(self, worker: WorkerState, held: Sequence[m.HeldAttempt]) -> None:
        """Reconciles our view of a worker's attempts with its own.

        Frames arrive in order, so an attempt that it accepted and no longer has was lost without a report. An attempt
        that it may not know yet is left to the resent assignment.
        """
        reported = {one.attempt for one in held}
        for attempt in list(worker.attempts.values()):
            if attempt.status is not S.PENDING and attempt.id not in reported:
                self._reconcile(worker, attempt, present=False)
        for one in held:
            if one.attempt not in worker.attempts and one.status not in ENDED:
                self._ledger.send(worker.name, m.DiscardAttempt(attempt=one.attempt))

    def check_workers(self) -> None:
        """Detects silent and lost workers, and resends frames that may have been lost."""
        now = self._ledger.now.mono
        for worker in self._ledger.workers.values():
            silent = now - worker.last_seen_mono
            if worker.online:
                if silent > self._settings.offline_after:
                    self._go_offline(worker, keeps=set(worker.attempts))
                else:
                    self._check_attempts(worker)
            elif now >= self.grace_until:
                for attempt in list(worker.attempts.values()):
                    self._check_lost(worker, attempt, silent)

    def was_away(self, seconds: float) -> None:
        """Discounts `seconds` in which the coordinator itself could not hear any worker."""
        for worker in self._ledger.workers.values():
            worker.last_seen_mono = min(self._ledger.now.mono, worker.last_seen_mono + seconds)

    def _seen(self, worker: WorkerState) -> None:
        worker.last_seen_mono, worker.last_seen_at = self._ledger.now.mono, self._ledger.now.wall

    def _go_offline(self, worker: WorkerState, keeps: set[str]) -> None:
        worker.online = False
        self._ledger.touch_worker(worker)
        self._scheduler.wake()
        for attempt in list(worker.attempts.values()):
            found = self._ledger.find_attempt(attempt.id)
            if found is None:
                self._ledger.detach(attempt)
            elif attempt.canceling:
                self._flow.end_attempt(attempt, S.CANCELED, None, None)
                self._flow.end(found[0], JobEvent.CANCEL, f"canceled while {worker.name} is offline")
            elif not attempt.released or attempt.id not in keeps:
                self._flow.abandon(found[0], attempt, f"{worker.name} went offline before it began")
            else:
                self._ledger.tell(found[0], f"{worker.name} is offline; the job continues there")

    def _check_attempts(self, worker: WorkerState) -> None:
        now = self._ledger.now.mono
        for attempt in list(worker.attempts.values()):
            waited = now - attempt.sent_mono
            found = self._ledger.find_attempt(attempt.id)
            if found is None:
                continue
            if attempt.canceling and waited > self._settings.cancel_bound:
                self._ledger.send(worker.name, m.DiscardAttempt(attempt=attempt.id))
                self._flow.end_attempt(attempt, S.CANCELED, None, f"{worker.name} did not stop it in time")
                self._flow.end(found[0], JobEvent.CANCEL, f"canceled; {worker.name} did not answer in time")
            elif attempt.status is S.PENDING and not attempt.revoking and waited > self._settings.accept_within:
                self._scheduler.send_assignment(found[0], attempt)

    def _check_lost(self, worker: WorkerState, attempt: AttemptState, silent: float) -> None:
        found = self._ledger.find_attempt(attempt.id)
        if found is None:
            self._ledger.detach(attempt)
            return
        job = found[0]
        bound = self._settings.lost_after
        if moves(job):
            bound = min(bound, self._settings.lease + self._settings.lease_margin)
        if silent > bound:
            text = f"worker {worker.name} was silent for {silent:.0f} s"
            self._fail(job, attempt, FailureReason.RUNNER_SYSTEM_FAILURE, text)

    def gone(self, name: str) -> bool:
        """Whether a worker is unknown, or has been silent beyond `lost_after` and has no attempts left."""
        worker = self._ledger.workers.get(name)
        if worker is None:
            return True
        now = self._ledger.now.mono
        silent = now - worker.last_seen_mono > self._settings.lost_after
        return silent and now >= self.grace_until and not worker.online and not worker.attempts

    # reports

    def holds(self, worker: str, attempt_id: str) -> AttemptState | None:
        """The unfinished attempt, if this worker holds it."""
        state = self._ledger.workers.get(worker)
        return state.attempts.get(attempt_id) if state else None

    def project_of(self, worker: str, attempt_id: str) -> str | None:
        """The project of an unfinished attempt, if this worker holds it."""
        found = self._ledger.find_attempt(attempt_id) if self.holds(worker, attempt_id) else None
        return self._ledger.run_of(found[0]).plan.project if found else None

    def may_read(self, worker: str, digest: str) -> bool:
        """Whether a blob belongs to a run that this worker holds an attempt of."""
        state = self._ledger.workers.get(worker)
        jobs = map(self._ledger.job_of, state.attempts.values()) if state else ()
        return any(job is not None and refers_to(job, self._ledger.run_of(job), digest) for job in jobs)

    def log_bound(self, attempt_id: str) -> int | None:
        """The log limit of an unfinished attempt in bytes; None: none."""
        found = self._ledger.find_attempt(attempt_id)
        own = found[0].plan.resources.log_limit if found else None
        return own or self._settings.log_limit or None

    def services(self, attempt_id: str) -> int:
        """The number of services of an unfinished attempt's job."""
        found = self._ledger.find_attempt(attempt_id)
        return len(found[0].plan.services) if found else 0

    def update_job_execution_status(self, worker: str, message: m.JobStatus, stored_log: int) -> None:
        """Applies a status report to its attempt and job, once, and acknowledges it."""
        attempt = self.holds(worker, message.attempt)
        job = self._ledger.job_of(attempt) if attempt else None
        if attempt is None or job is None:
            self._answer_stranger(worker, message)
            return
        if message.seq > attempt.status_seq:
            if message.status in ENDED and (message.log_length or 0) > stored_log:
                self._ledger.send(worker, m.Ack(attempt=attempt.id, log_offset=stored_log))
                return
            attempt.status_seq = message.seq
            self._ledger.touch_attempt(attempt)
            if message.status in ENDED:
                self._take_result(worker, job, attempt, message)
            else:
                self._take_progress(worker, job, attempt, message)
        self._ledger.acknowledge(worker, attempt.id, message.seq)

    def _answer_stranger(self, worker: str, message: m.JobStatus) -> None:
        found = self._ledger.find_attempt(message.attempt)
        if found and found[1].worker == worker and found[1].status in ENDED and message.seq <= found[1].status_seq:
            self._ledger.acknowledge(worker, message.attempt, message.seq)
        else:
            self._ledger.send(worker, m.DiscardAttempt(attempt=message.attempt))

    def _take_progress(self, worker: str, job: JobState, attempt: AttemptState, message: m.JobStatus) -> None:
        event = PROGRESS.get(message.status)
        if event is None or not may(job.status, event):
            if message.status is job.status:
                attempt.status = message.status  # accepted again after a reassignment
            else:
                self._ledger.tell(job, f"{worker} reported {message.status.value} while {job.status.value}; ignored")
            return
        attempt.status = message.status
        if event is JobEvent.START and not attempt.released:
            self._ledger.release(attempt)
        attempt.revoking = attempt.revoking and event is not JobEvent.START
        text = {JobEvent.HOLD: f"held ready at {worker}", JobEvent.PREPARE: f"{worker} prepares it"}
        self._ledger.move(job, event, text.get(event, f"{worker} runs it"))
        if event is JobEvent.START:
            attempt.started_at = job.started_at = self._time(job, message.ago)
        elif event is JobEvent.HOLD and not attempt.released:
            self._flow.consider(job)
        self._flow.at_worker(job)

    def _take_result(self, worker: str, job: JobState, attempt: AttemptState, message: m.JobStatus) -> None:
        attempt.exit_code = message.exit_code
        attempt.artifacts = with_expiry(job.plan, message.artifacts, self._ledger.now.wall)
        attempt.dotenv = dict(message.dotenv)
        attempt.tests = message.tests
        attempt.reports = message.reports
        if message.test_results:
            self._ledger.keep_tests(job, attempt, message.test_results)
        attempt.coverage = message.coverage
        if message.status is S.SUCCESS:
            attempt.release = message.release if job.plan.release is not None else None
            attempt.pages = published(job.plan, message.pages, self._ledger.now.wall)
        attempt.log_length = message.log_length
        if message.kept is not None:
            self._kept.job_ended(worker, job, attempt, message.kept)
        canceling = attempt.canceling
        if message.status is S.FAILED:
            reason = message.failure_reason or FailureReason.SCRIPT_FAILURE
            self._fail(job, attempt, reason, message.message, ago=message.ago)
            return
        self._flow.end_attempt(attempt, message.status, None, message.message)
        attempt.finished_at = self._time(job, message.ago)
        job.message = message.message  # warnings, such as artifacts not found or not stored
        if message.status is S.SUCCESS:
            job.message = message.message  # warnings
            self._flow.end(job, JobEvent.SUCCEED, f"succeeded on {worker}")
        else:
            self._flow.end(job, JobEvent.CANCEL, "canceled" if canceling else f"canceled by {worker}")

    def _time(self, job: JobState, ago: float) -> float:
        """The wall time of an event that a worker reports as `ago` seconds old, clamped to the job's lifetime.

        Unclamped, a worker could report a time outside the range of date types.
        """
        now = self._ledger.now.wall
        return min(now, max(job.created_at or 0.0, now - ago))

    def _fail(
        self, job: JobState, attempt: AttemptState, reason: FailureReason, message: str | None, *, ago: float = 0.0
    ) -> None:
        """Fails an attempt; the job is retried if its `retry` allows, or fails."""
        canceling = attempt.canceling or self._ledger.run_of(job).canceling
        self._flow.end_attempt(attempt, S.FAILED, reason, message)
        attempt.finished_at = self._time(job, ago)
        code = attempt.exit_code
        text = f"attempt {attempt.number} failed: {reason.value}" + (f" (exit code {code})" if code else "")
        if message:
            text += f": {message}"
        if not canceling and self._tries_again(job, reason, code):
            job.automatic_retries += 1
            left = job.plan.retry.max - job.automatic_retries
            self._flow.queue(job, f"{text}; retrying ({left} left)")
            return
        self._flow.fail(job, reason, message, text, code=code)

    def _tries_again(self, job: JobState, reason: FailureReason, code: int | None) -> bool:
        retry = job.plan.retry
        if job.automatic_retries >= retry.max:
            return False
        if not retry.when and not retry.exit_codes:
            return True
        return "always" in retry.when or reason.value in retry.when or (code is not None and code in retry.exit_codes)

    def job_returned(self, worker: str, message: m.JobReturned) -> None:
        """Takes back an attempt of which nothing is left at the worker.

        To the worker's knowledge it never began. If it did, it fails: a started job must not silently start again.
        """
        attempt = self.holds(worker, message.attempt)
        found = self._ledger.find_attempt(message.attempt)
        if attempt is None or found is None:
            return
        job = found[0]
        if attempt.canceling:
            self._flow.end_attempt(attempt, S.CANCELED, None, None)
            self._flow.end(job, JobEvent.CANCEL, "canceled before it began")
        elif job.status is S.RUNNING:
            self._fail(job, attempt, FailureReason.RUNNER_SYSTEM_FAILURE, f"{worker} gave it up after it had begun")
        else:
            self._flow.give_back(job, attempt, f"{worker} gave it back")

    def give_up(self, worker: str, attempt_id: str, message: str) -> None:
        """Fails an attempt whose result could never be accepted, and has its worker discard it."""
        attempt = self.holds(worker, attempt_id)
        found = self._ledger.find_attempt(attempt_id)
        if attempt is None or found is None:
            return
        self._fail(found[0], attempt, FailureReason.RUNNER_SYSTEM_FAILURE, message)
        self._ledger.send(worker, m.DiscardAttempt(attempt=attempt_id))

    # requests

    def get_job_execution(self, worker: str, message: m.GetJobExecution) -> m.JobExecution:
        """The assignment of an attempt that this worker holds."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        if attempt is None or found is None:
            return m.JobExecution(id=message.id, assignment=None)
        return m.JobExecution(id=message.id, assignment=self._scheduler.assignment_of(found[0], attempt))

    def get_job_dependencies(self, worker: str, message: m.GetJobDependencies) -> m.JobDependencies:
        """The current dependencies of an attempt; none if the worker does not hold it."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        known = attempt is not None and found is not None
        entries = dependencies(found[0], self._ledger.index_of(found[0])) if known and found else []
        return m.JobDependencies(id=message.id, attempt=message.attempt, dependencies=entries)

    def get_job_status(self, worker: str, message: m.GetJobStatus) -> m.JobStatusReply:
        """The status of an attempt that this worker holds, `wanted=False` for others. The caller adds log_offset."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        if attempt is None or found is None:
            return m.JobStatusReply(id=message.id, attempt=message.attempt, wanted=False, status=None)
        return m.JobStatusReply(id=message.id, attempt=message.attempt, wanted=True, status=found[0].status)
