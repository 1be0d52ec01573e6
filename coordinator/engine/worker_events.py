"""What workers say: they come, report, give back, go silent and are lost. Pure.

Nothing is taken but from the worker that holds the attempt, nothing twice, and no end before its log is complete.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coordinator.engine.assignments import dependencies, moves
from coordinator.engine.flow import Flow
from coordinator.engine.ledger import Ledger
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.settings import Settings
from coordinator.engine.state import AttemptState, JobState, WorkerState
from coordinator.engine.transitions import JobEvent, may
from protocol import messages as m
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S
from protocol.views import ArtifactRef

PROGRESS = {S.WAITING: JobEvent.HOLD, S.PREPARING: JobEvent.PREPARE, S.RUNNING: JobEvent.START}
"""What a worker's statuses on the way mean for the job."""
LONGEST_KEPT = 100 * 366 * 86_400.0
"""Seconds; whoever keeps something for longer does not mind, and no clock shows it."""


class WorkerEvents:
    """The workers' half of the engine."""

    def __init__(self, ledger: Ledger, scheduler: Scheduler, flow: Flow, settings: Settings) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._flow = flow
        self._settings = settings
        self.grace_until = 0.0  # monotonic: until then nobody is called lost, for the coordinator itself was away

    # a worker comes and goes

    def worker_hello(self, hello: m.Hello) -> list[str]:
        """A worker is here, for the first time or again. Returns which of its attempts it shall keep."""
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
            self._flow.give_back(job, attempt, f"{worker.name} does not have it any more")
        elif not present and job.status is S.RUNNING:
            text = f"its container is gone from {worker.name}"
            self._fail(job, attempt, FailureReason.RUNNER_SYSTEM_FAILURE, text)
        elif not present:
            attempt.status, attempt.status_seq = S.PENDING, 0  # it begins anew there, and counts anew
            self._ledger.touch_attempt(attempt)
            self._scheduler.send_assignment(job, attempt)
        elif attempt.canceling:
            self._ledger.send(worker.name, m.CancelJob(attempt=attempt.id))
        elif attempt.revoking:
            self._ledger.send(worker.name, m.RevokeJob(attempt=attempt.id))

    def worker_goodbye(self, name: str, goodbye: m.Goodbye) -> None:
        """A worker leaves on purpose; what it keeps goes on without it."""
        worker = self._ledger.workers.get(name)
        if worker is not None:
            self._go_offline(worker, keeps=set(goodbye.keeps))

    def worker_shut_out(self, name: str, revoked_at: float | None) -> None:
        """Its key was revoked: nobody can report what it has any more, so nobody waits for that.

        A job that moves has to wait for its lease all the same, as its container ends by that; see `_check_lost`.
        `revoked_at` (wall clock) is for a revocation of the past: what was assigned later is at another worker of the
        same name, and stays.
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
        """Any frame of a worker; of a heartbeat, what it says."""
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
        """Mends what the worker and we see differently. Frames come in order: what it has accepted and now has no more
        is gone without a word. What it may not have heard of yet is left to the assignment that is sent again.
        """
        reported = {one.attempt for one in held}
        for attempt in list(worker.attempts.values()):
            if attempt.status is not S.PENDING and attempt.id not in reported:
                self._reconcile(worker, attempt, present=False)
        for one in held:
            if one.attempt not in worker.attempts and one.status not in ENDED:
                self._ledger.send(worker.name, m.DiscardAttempt(attempt=one.attempt))

    def check_workers(self) -> None:
        """Finds silent workers, lost ones, and frames that may have got lost."""
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
        """The coordinator itself heard nothing for so long, whoever spoke: nobody was silent in that time."""
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
                self._flow.end(found[0], JobEvent.CANCEL, f"canceled while {worker.name} is away")
            elif not attempt.released or attempt.id not in keeps:
                self._flow.abandon(found[0], attempt, f"{worker.name} went away before it began")
            else:
                self._ledger.tell(found[0], f"{worker.name} is away; the job goes on there")

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
            elif attempt.status is S.PENDING and waited > self._settings.accept_within:
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
            text = f"worker {worker.name} was not heard of for {silent:.0f} s"
            self._fail(job, attempt, FailureReason.RUNNER_SYSTEM_FAILURE, text)

    def gone(self, name: str) -> bool:
        """Whether a worker was not heard of for so long that nothing of it is waited for; one that never came is."""
        worker = self._ledger.workers.get(name)
        if worker is None:
            return True
        now = self._ledger.now.mono
        silent = now - worker.last_seen_mono > self._settings.lost_after
        return silent and now >= self.grace_until and not worker.online and not worker.attempts

    # a worker reports

    def holds(self, worker: str, attempt_id: str) -> AttemptState | None:
        """The unfinished attempt, if this worker has it."""
        state = self._ledger.workers.get(worker)
        return state.attempts.get(attempt_id) if state else None

    def project_of(self, worker: str, attempt_id: str) -> str | None:
        """The project of an unfinished attempt, if this worker has it."""
        found = self._ledger.find_attempt(attempt_id) if self.holds(worker, attempt_id) else None
        return self._ledger.run_of(found[0]).plan.project if found else None

    def log_bound(self, attempt_id: str) -> int | None:
        """The limit of an unfinished attempt's log; None: there is none."""
        found = self._ledger.find_attempt(attempt_id)
        own = found[0].plan.resources.log_limit if found else None
        return own or self._settings.log_limit or None

    def services(self, attempt_id: str) -> int:
        """The number of services of an unfinished attempt's job."""
        found = self._ledger.find_attempt(attempt_id)
        return len(found[0].plan.services) if found else 0

    def update_job_execution_status(self, worker: str, message: m.JobStatus, stored_log: int) -> None:
        """Applies a worker's report to its attempt and job, once, and acknowledges it."""
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
                attempt.status = message.status  # it has accepted it once more
            else:
                self._ledger.tell(job, f"{worker} said {message.status.value} while {job.status.value}; not taken")
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
        attempt.artifacts = self._with_expiry(job, message)
        attempt.dotenv = dict(message.dotenv)
        attempt.tests = message.tests
        attempt.coverage = message.coverage
        attempt.log_length = message.log_length
        canceling = attempt.canceling
        if message.status is S.FAILED:
            reason = message.failure_reason or FailureReason.SCRIPT_FAILURE
            self._fail(job, attempt, reason, message.message, ago=message.ago)
            return
        self._flow.end_attempt(attempt, message.status, None, message.message)
        attempt.finished_at = self._time(job, message.ago)
        job.message = message.message  # warnings: what was not found or could not be kept
        if message.status is S.SUCCESS:
            job.message = message.message  # what was odd but failed nothing
            self._flow.end(job, JobEvent.SUCCEED, f"succeeded on {worker}")
        else:
            self._flow.end(job, JobEvent.CANCEL, "canceled" if canceling else f"canceled by {worker}")

    def _time(self, job: JobState, ago: float) -> float:
        """When something happened that a worker says was so long ago: not in the future, nor before there was the job.

        Otherwise a worker could tell a time that no clock can show.
        """
        now = self._ledger.now.wall
        return min(now, max(job.created_at or 0.0, now - ago))

    def _with_expiry(self, job: JobState, message: m.JobStatus) -> list[ArtifactRef]:
        keep = job.plan.artifacts.expire_in if job.plan.artifacts else None
        expires_at = None if keep is None else self._ledger.now.wall + min(keep, LONGEST_KEPT)
        return [msgspec.structs.replace(ref, expires_at=expires_at) for ref in message.artifacts]

    def _fail(
        self, job: JobState, attempt: AttemptState, reason: FailureReason, message: str | None, *, ago: float = 0.0
    ) -> None:
        """An attempt has failed: the job is tried again if its `retry` says so, or fails."""
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
            self._flow.queue(job, f"{text}; tried again ({left} left)")
            return
        job.failure_reason, job.message = reason, message
        if job.plan.allow_failure or (code is not None and code in job.plan.allow_failure_exit_codes):
            self._ledger.allow_to_fail(job)
        self._flow.end(job, JobEvent.FAIL, text)
        run = self._ledger.run_of(job)
        if not job.allowed_to_fail and not run.canceling and run.plan.auto_cancel_on_job_failure == "all":
            self._flow.cancel_run(run, f"{job.plan.name} failed (workflow: auto_cancel: on_job_failure)")

    def _tries_again(self, job: JobState, reason: FailureReason, code: int | None) -> bool:
        retry = job.plan.retry
        if job.automatic_retries >= retry.max:
            return False
        if not retry.when and not retry.exit_codes:
            return True
        return "always" in retry.when or reason.value in retry.when or (code is not None and code in retry.exit_codes)

    def job_returned(self, worker: str, message: m.JobReturned) -> None:
        """A worker has given back an attempt of which nothing is left there. As far as it knows that never began; but
        what has begun after all must not begin again as if it had not.
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
        """Fails an attempt that its worker can't bring to an end that would be taken; the worker is told to drop it."""
        attempt = self.holds(worker, attempt_id)
        found = self._ledger.find_attempt(attempt_id)
        if attempt is None or found is None:
            return
        self._fail(found[0], attempt, FailureReason.RUNNER_SYSTEM_FAILURE, message)
        self._ledger.send(worker, m.DiscardAttempt(attempt=attempt_id))

    # a worker asks

    def get_job_execution(self, worker: str, message: m.GetJobExecution) -> m.JobExecution:
        """The assignment of an attempt that this worker has."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        if attempt is None or found is None:
            return m.JobExecution(id=message.id, assignment=None)
        return m.JobExecution(id=message.id, assignment=self._scheduler.assignment_of(found[0], attempt))

    def get_job_dependencies(self, worker: str, message: m.GetJobDependencies) -> m.JobDependencies:
        """An attempt's dependencies as they now stand; none when the worker does not have it."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        known = attempt is not None and found is not None
        entries = dependencies(found[0], self._ledger.index_of(found[0])) if known and found else []
        return m.JobDependencies(id=message.id, attempt=message.attempt, dependencies=entries)

    def get_job_status(self, worker: str, message: m.GetJobStatus) -> m.JobStatusReply:
        """How an attempt stands that this worker has; of others it is told nothing. The server fills in the offset."""
        attempt, found = self.holds(worker, message.attempt), self._ledger.find_attempt(message.attempt)
        if attempt is None or found is None:
            return m.JobStatusReply(id=message.id, attempt=message.attempt, wanted=False, status=None)
        return m.JobStatusReply(id=message.id, attempt=message.attempt, wanted=True, status=found[0].status)
