"""All attempts at this worker, and everything that may happen to one. Runs in the worker's loop and never blocks.

Knows jobs, runners, places and timers; what it sends goes through `send`, what it asks through `Requests`.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from daemon.attempts import admission
from daemon.attempts.attempt import NOT_BEGUN, Attempt, Phase
from daemon.attempts.recovery import Recovery, ask
from daemon.attempts.result import Result, StopReason
from daemon.attempts.runner import ResumePoint, Runner
from daemon.attempts.status_reporter import StatusReporter
from daemon.attempts.stopper import Stopper
from daemon.executors.base import Executor, Found, JobFailed
from daemon.logs.sender import FLUSH_BYTES, LogSender
from daemon.runtime.timers import Timers
from daemon.settings import WorkerSettings
from daemon.upstream.requests import Requests
from daemon.upstream.transfers import Transfers
from protocol import messages as m
from protocol.codec import CHUNK_BYTES
from protocol.statuses import ExecutionStatus, FailureReason

FLUSH_AFTER = 0.05
"""Seconds that log bytes wait for more of their kind, unless the line was quiet before."""
LOG_GATHERS = 0.002
"""Seconds that log bytes wait at least: a script's last words then leave together with the news of its end."""
REMEMBERED = 1000
"""Attempts that are over and acknowledged, and must not be run again if a late frame asks for it."""

logger = logging.getLogger(__name__)


class AttemptManager:
    """The worker's attempts. Also the `Host` of their runners, whose calls come in through `post`, and the `Keeper` of
    what an earlier life has left.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        executor: Executor,
        transfers: Transfers,
        requests: Requests,
        timers: Timers,
        send: Callable[[m.Message, bytes | None], bool],
        post: Callable[..., None],
    ) -> None:
        self.known: set[str] = set()  # everything that a sweep must leave alone; a runner's thread may look into it
        self.stopping = False  # nothing new is accepted
        self._settings = settings
        self._policy = settings.policy
        self._executor = executor
        self._transfers = transfers
        self._requests = requests
        self._timers = timers
        self._send = send
        self._post = post
        self._jobs: dict[str, Attempt] = {}
        self._stopper = Stopper(settings, timers, send, self._finished, self._forget)
        self._leftovers = Recovery(executor, requests, self, post)
        self._over: OrderedDict[str, None] = OrderedDict()
        self.telling = StatusReporter(self._jobs, send)
        self._may_go_on = False
        self._just_prepared: list[Attempt] = []
        self._first_seq = int(time.time() * 1000)  # above all that an earlier life of this daemon has used

    # what there is

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self) -> None:
        """At the start: looks for containers of an earlier life. What of them is still wanted, the welcome tells."""
        self.known.update(self._leftovers.find())

    def held(self) -> list[m.HeldAttempt]:
        """What a hello says: all attempts of which there is something here."""
        jobs = [m.HeldAttempt(attempt=job.attempt, status=job.status) for job in self._jobs.values()]
        return self._leftovers.held() + jobs

    def told(self) -> list[str]:
        """The same in full, a line for each, for people."""
        left = [f"{held.attempt} was found here, {held.status}; not taken up yet" for held in self._leftovers.held()]
        return left + [str(job) for job in self._jobs.values()]

    def unfinished(self) -> list[str]:
        """Attempts whose containers go on when the daemon leaves."""
        begun = [job.attempt for job in self._jobs.values() if job.phase not in NOT_BEGUN]
        return [held.attempt for held in self._leftovers.held()] + begun

    # the coordinator's connection

    def disconnected(self) -> None:
        """From now on it is not known what has arrived."""
        for job in self._jobs.values():
            job.synced = False

    def welcomed(self, keep: set[str], listed: set[str]) -> None:
        """Of what the hello `listed`, the coordinator wants `keep`. All else is asked about."""
        for attempt in listed - keep:
            self.discard(attempt)
        for attempt in keep - self.known:  # given back since the hello
            self._send(m.JobReturned(attempt=attempt), None)
        for attempt in keep:
            if attempt in self._leftovers:
                self._leftovers.get_job_execution(attempt)
        for job in list(self._jobs.values()):
            self.get_job_status(job)

    # what an earlier life has left (see `leftovers.Keeper`)

    def adopt(self, found: Found, assignment: m.Assignment, reply: m.JobStatusReply, stop: StopReason | None) -> None:
        """Goes on with an attempt of an earlier life, where the container and the coordinator stand."""
        now = time.monotonic()
        job = self._new_job(assignment)
        job.seq = max(job.seq, reply.status_seq)
        job.log.restart(reply.log_offset)
        if found.state in ("running", "exited"):
            job.phase = Phase.RUNNING
            job.status = ExecutionStatus.RUNNING
            if reply.status is not ExecutionStatus.RUNNING:
                job.report(ExecutionStatus.RUNNING, found.released_mono)
            if found.state == "running":
                self._stopper.run_out_after(job, found.released_mono + assignment.job.timeout - now)
            self._start(job, ResumePoint.RELEASED)
        else:
            job.phase = Phase.PREPARING
            job.report(self._waiting_status(job), now)
            self._start(job, ResumePoint.HELD if found.state == "held" else ResumePoint.NEW)
        self._job_status(job, reply)
        if stop is not None and (stop is not StopReason.RETURN or job.phase in NOT_BEGUN):
            self._stopper.stop(job, stop)

    def unwanted(self, attempt: str) -> None:
        """See Keeper."""
        self.known.discard(attempt)

    def given_up(self, attempt: str) -> None:
        """See Keeper."""
        self.known.discard(attempt)
        self._send(m.JobReturned(attempt=attempt), None)

    # how the coordinator sees an attempt

    def get_job_status(self, job: Attempt) -> None:
        """Asks how the coordinator sees an attempt, to send again just what it lacks."""
        ask(self._requests, m.GetJobStatus, job.attempt, partial(self._job_status, job))

    def _job_status(self, job: Attempt, reply: m.Message) -> None:
        if self._jobs.get(job.attempt) is not job or not isinstance(reply, m.JobStatusReply):
            return
        if not reply.wanted:
            self.discard(job.attempt)
            return
        now = time.monotonic()
        if reply.log_offset < job.log.acknowledged:
            job.log.restart(reply.log_offset)
            if job.runner:
                job.runner.read_again()
        self._acknowledge(job, reply.status_seq, reply.log_offset)
        job.send_again(self._send, now)
        if job.phase in NOT_BEGUN:
            self.get_job_dependencies(job)

    def get_job_dependencies(self, job: Attempt) -> None:
        """Asks for the dependencies as they now stand: pushes may have got lost."""
        ask(self._requests, m.GetJobDependencies, job.attempt, partial(self._job_dependencies, job))

    def _job_dependencies(self, job: Attempt, reply: m.Message) -> None:
        if self._jobs.get(job.attempt) is job and isinstance(reply, m.JobDependencies):
            for dependency in reply.dependencies:
                self.update_dependency(job.attempt, dependency)

    # what the coordinator wants

    def execute_job(self, assignment: m.Assignment) -> None:
        """Accepts an attempt; one that is known already is not run twice."""
        attempt = assignment.attempt
        job = self._jobs.get(attempt)
        if job is not None:
            if job.synced:
                job.send_again(self._send, time.monotonic())
        elif attempt in self._over:
            logger.warning("an attempt that is over was assigned again", extra={"attempt": attempt})
        elif attempt in self._leftovers:
            self._leftovers.get_job_execution(attempt)
        elif self.stopping:
            self._send(m.JobReturned(attempt=attempt), None)
        else:
            job = self._new_job(assignment)
            if job.runnable:
                job.runnable_at = time.monotonic()
            self.report_job_status(job, self._waiting_status(job))
            self._look_for_room()

    def _new_job(self, assignment: m.Assignment) -> Attempt:
        log = LogSender(partial(self._post, self._log_ready, assignment.attempt))
        job = self._jobs[assignment.attempt] = Attempt(assignment, log, self._first_seq)
        self.known.add(assignment.attempt)
        return job

    def _waiting_status(self, job: Attempt) -> ExecutionStatus:
        return ExecutionStatus.PREPARING if job.runnable else ExecutionStatus.WAITING

    def update_dependency(self, attempt: str, dependency: m.Dependency) -> None:
        """A dependency has ended, or stands otherwise than it did."""
        job = self._jobs.get(attempt)
        if job is None or job.phase not in NOT_BEGUN:
            return
        job.dependencies[dependency.job] = dependency
        if not job.runnable:
            job.runnable_at = None
            if job.runner:
                job.runner.prefetch(dependency)
            return
        if job.runnable_at is None:
            job.runnable_at = time.monotonic()
        self._look_for_room()
        self.schedule()
        if job.phase in NOT_BEGUN and job.status is ExecutionStatus.WAITING:
            self.report_job_status(job, ExecutionStatus.PREPARING)

    def acknowledge(self, ack: m.Ack) -> None:
        """Something of an attempt is durable."""
        job = self._jobs.get(ack.attempt)
        if job is not None and ack.stream == "job":
            now = time.monotonic()
            if job.lost(ack.log_offset):
                job.synced = False
                self.get_job_status(job)
            elif job.lacks(ack.log_offset, now):
                job.send_again(self._send, now)
            self._acknowledge(job, ack.status_seq, ack.log_offset)

    def _acknowledge(self, job: Attempt, seq: int | None, log_offset: int | None) -> None:
        if job.acknowledged(seq=seq, log_offset=log_offset, now=time.monotonic()):
            self._over[job.attempt] = None
            if len(self._over) > REMEMBERED:
                self._over.popitem(last=False)
            if job.runner is None:
                self._forget(job)
            elif (remove_at := job.finished_at + job.runner.sandbox.lingers) > time.monotonic():
                self._timers.at(remove_at, job.runner.settle)
            else:
                job.runner.settle()

    def cancel(self, attempt: str) -> None:
        """Stop it; a final status follows, `canceled` unless it has ended already."""
        self._stop(attempt, StopReason.CANCEL)

    def revoke(self, attempt: str) -> None:
        """Give it back, if it has not begun."""
        job = self._jobs.get(attempt)
        if job is None or job.phase in NOT_BEGUN:
            self._stop(attempt, StopReason.RETURN)

    def discard(self, attempt: str) -> None:
        """Remove all of it and report nothing."""
        if attempt in self._jobs:
            self._stop(attempt, StopReason.DISCARD)
        else:
            self._leftovers.discard(attempt)

    def _stop(self, attempt: str, why: StopReason) -> None:
        if job := self._jobs.get(attempt):
            self._stopper.stop(job, why)
        elif attempt in self._leftovers:
            self._leftovers.stop(attempt, why)

    # the daemon's end

    def return_not_begun(self) -> None:
        """Accepts nothing more, and removes what has not begun."""
        self.stopping = True
        for job in list(self._jobs.values()):
            if job.phase in NOT_BEGUN:
                self._stopper.stop(job, StopReason.RETURN)

    def leave(self) -> None:
        """The daemon goes: what has begun stays as it is, and its threads are left behind."""
        self.return_not_begun()
        for job in self._jobs.values():
            if job.runner and job.phase not in NOT_BEGUN and not job.settled and job.stop is not StopReason.DISCARD:
                job.stop = StopReason.LEAVE
                job.runner.stop(StopReason.LEAVE)

    @property
    def removing(self) -> bool:
        """Whether something is still being removed."""
        return any(
            job.stop is StopReason.DISCARD
            or (job.stop is not StopReason.LEAVE and (job.phase in NOT_BEGUN or job.settled))
            for job in self._jobs.values()
        )

    # time

    def tick(self, now: float, renewed_at: float) -> None:
        """About once a second: what was not acknowledged is sent again, what may not go on alone is stopped.

        `renewed_at`: the leases of jobs that move count from then on.
        """
        self._leftovers.tick(now, renewed_at)
        for job in list(self._jobs.values()):
            if job.overdue(now, self._settings.ack_timeout):
                job.send_again(self._send, now)
            if job.runner:
                job.runner.go_on()
            if job.assignment.lease is not None:
                self._stopper.keep_lease(job, renewed_at + job.assignment.lease - now)

    def _look_for_room(self) -> None:
        """Something has happened that may let a job go on."""
        self._may_go_on = True

    def schedule(self) -> None:
        """Prepares, opens and holds what there is room for. Once per turn of the loop, whatever happened in it."""
        settings = self._settings
        threads = 4 * (settings.slots + settings.held_at_most) + 16
        while self._may_go_on:
            self._may_go_on = False
            for job in admission.to_admit(self._jobs.values(), settings.slots, settings.held_at_most, threads):
                job.phase = Phase.PREPARING
                self._start(job, ResumePoint.NEW)
            for job in admission.to_open(self._jobs.values(), settings.slots):
                assert job.runner is not None
                job.phase = Phase.OPENED
                job.runner.open(list(job.dependencies.values()))
        for job in self._just_prepared:
            if job.phase is Phase.READY and job.runner:
                job.runner.hold()
        self._just_prepared.clear()

    def _start(self, job: Attempt, entry: ResumePoint) -> None:
        try:
            transfer = self._transfers.open(job.attempt)
            job.runner = Runner(job.assignment, self._executor, transfer, job.log, self, entry, policy=self._policy)
        except JobFailed as error:
            self._failed_to_start(job, error.reason, error.message)
        except Exception as error:
            logger.exception("an attempt can't be started", extra={"attempt": job.attempt})
            self._failed_to_start(job, FailureReason.RUNNER_SYSTEM_FAILURE, f"{type(error).__name__}: {error}")
        else:
            for dependency in job.dependencies.values():
                if dependency.artifacts and not job.runnable:
                    job.runner.prefetch(dependency)
            job.runner.start()

    def _failed_to_start(self, job: Attempt, reason: FailureReason, message: str) -> None:
        self._finished(job.attempt, Result(status=ExecutionStatus.FAILED, failure_reason=reason, message=message))

    def report_job_status(self, job: Attempt, status: ExecutionStatus, result: Result | None = None) -> None:
        """Has the coordinator told how far an attempt is; it is told again until it has acknowledged."""
        job.report(status, time.monotonic(), result)
        self.telling.add(job)

    # what runners say (any thread), and what comes of it (the loop)

    def prepared(self, attempt: str) -> None:
        """See Host."""
        self._post(self._prepared, attempt)

    def _prepared(self, attempt: str) -> None:
        job = self._jobs[attempt]
        if job.stop is not None:
            return
        job.phase = Phase.READY
        self._just_prepared.append(job)
        self._look_for_room()

    def started(self, attempt: str) -> None:
        """See Host."""
        self._post(self._started, attempt)

    def _started(self, attempt: str) -> None:
        job = self._jobs[attempt]
        job.phase = Phase.RUNNING
        self.report_job_status(job, ExecutionStatus.RUNNING)
        if job.stop is None:
            self._stopper.run_out_after(job, job.assignment.job.timeout)
        else:
            self._stopper.stop_script(job)

    def ended(self, attempt: str) -> None:
        """See Host."""
        self._post(self._ended, attempt)

    def _ended(self, attempt: str) -> None:
        job = self._jobs[attempt]
        job.phase = Phase.ENDED
        if job.deadline:
            job.deadline.cancel()
        self._look_for_room()

    def finished(self, attempt: str, result: Result) -> None:
        """See Host."""
        self._post(self._finished, attempt, result)

    def _finished(self, attempt: str, result: Result) -> None:
        job = self._jobs.get(attempt)
        if job is None or job.final:
            return
        job.phase = Phase.REPORTED
        job.finished_at = time.monotonic()
        if job.deadline:
            job.deadline.cancel()
        self.report_job_status(job, result.status, result)
        self._look_for_room()

    def service_log(self, attempt: str, alias: str, data: bytes) -> None:
        """See Host."""
        self._post(self._service_log, attempt, alias, data)

    def _service_log(self, attempt: str, alias: str, data: bytes) -> None:
        for at in range(0, len(data), CHUNK_BYTES):
            chunk = m.LogChunk(attempt=attempt, offset=at, stream=f"service-{alias}")
            self._send(chunk, data[at : at + CHUNK_BYTES])

    def gone(self, attempt: str) -> None:
        """See Host."""
        self._post(self._gone, attempt)

    def _gone(self, attempt: str) -> None:
        job = self._jobs[attempt]
        self._forget(job)
        if job.stop in (StopReason.RETURN, StopReason.LEASE) and not job.final:
            self._send(m.JobReturned(attempt=attempt), None)
        self._look_for_room()

    def _forget(self, job: Attempt) -> None:
        for timer in (job.deadline, job.flush):
            if timer:
                timer.cancel()
        del self._jobs[job.attempt]
        self.known.discard(job.attempt)

    def _log_ready(self, attempt: str) -> None:
        job = self._jobs.get(attempt)
        if job is None or not job.log.waiting:
            return
        now = time.monotonic()
        if job.log.waiting >= FLUSH_BYTES:
            job.send_log(self._send, now)
        elif job.flush is None or job.flush.action is None:
            at = max(job.flushed_at + FLUSH_AFTER, now + LOG_GATHERS)
            job.flush = self._timers.at(at, lambda: job.send_log(self._send, time.monotonic()))
