"""The progress of a run from its first stage to its end: which jobs may run, and the consequences of each end. Pure.

The functions have the names of the flow in docs/execution-flow.md, in order of execution.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from coordinator.engine.assignments import dependency
from coordinator.engine.decisions import is_asked_for, is_doomed, names, refused_trigger, why_skipped
from coordinator.engine.environments import Environments
from coordinator.engine.ledger import Ledger
from coordinator.engine.origins import called
from coordinator.engine.run_index import Outcome, Part, RunIndex, is_open, part_of
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.state import AttemptState, JobState, RunState, StageState, goes_to_worker, is_downstream
from coordinator.engine.transitions import JobEvent
from protocol import messages as m
from protocol.statuses import AT_WORKER, ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S

OUTCOMES = {S.SUCCESS: JobEvent.SUCCEED, S.CANCELED: JobEvent.CANCEL, S.SKIPPED: JobEvent.MIRROR}
"""What a job undergoes whose child run ends in this way, besides failure."""
HOW_IT_ENDED = {S.SUCCESS: "succeeded", S.FAILED: "failed", S.CANCELED: "was canceled", S.SKIPPED: "was skipped"}


class Flow:
    """Advances runs. Every change of a job that may unblock another one ends in `_settle`."""

    def __init__(self, ledger: Ledger, scheduler: Scheduler, environments: Environments) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._environments = environments
        self._changed: deque[JobState] = deque()
        self._settling = False
        self.delayed: dict[int, float] = {}  # job id -> monotonic time when its delay ends

    # stages

    def execute_first_stage(self, run: RunState) -> None:
        """Starts a run: its first stage, and every job whose `needs` allow it."""
        index = self._ledger.indexes[run.id]
        for job in index.jobs:
            if job.plan.needs is None:
                self._explain_stage_wait(job, index)
        self.execute_jobs_for_stage(run.stages[0])
        for job in index.jobs:
            if job.plan.needs is not None:
                self.consider(job)
        self._settle()

    def execute_jobs_for_stage(self, stage: StageState) -> None:
        """Starts a stage: decides about each job that waited for it, by the outcome of the stages before."""
        for job in stage.jobs:
            if job.plan.needs is None:
                self.consider(job)

    def finalize_stage_execution(self, stage: StageState) -> None:
        """Completes a stage whose jobs have all ended or are optional."""
        run = self._ledger.runs[stage.run_id]
        index = self._ledger.indexes[run.id]
        index.current_stage = stage.index + 1
        if index.current_stage < len(run.stages):
            self.execute_next_stage(run)

    def execute_next_stage(self, run: RunState) -> None:
        """Starts the stage after the one just completed."""
        self.execute_jobs_for_stage(run.stages[self._ledger.indexes[run.id].current_stage])

    def finalize_pipeline_execution(self, run: RunState) -> None:
        """Finishes a run without further stages. Its row gets the final status when the turn is closed.

        The jobs that wait for this run, if any, take its outcome.
        """
        self._ledger.touch_run(run)
        for job in self._ledger.waiting_for(run):
            status = self._ledger.indexes[run.id].total.status(canceling=run.canceling)
            if status in ENDED:
                self.take_outcome(job, status, called(run, self._ledger.run_of(job)))

    def resume(self, run: RunState) -> None:
        """Reconsiders every job that is not at a worker: after a restart, a retry, or a play."""
        index = self._ledger.indexes[run.id]
        open_stages = [i for i, tally in enumerate(index.stages) if tally.open]
        index.current_stage = min([index.current_stage, *open_stages])
        for job in index.jobs:
            if job.status is S.CREATED:
                if job.plan.needs is not None or job.stage_index <= index.current_stage:
                    self.consider(job)
                else:
                    self._explain_stage_wait(job, index)
        for job in index.jobs:
            if job.status in ENDED:
                self._changed.append(job)
        self._settle()

    # one job

    def consider(self, job: JobState) -> None:
        """Decides whether an unstarted job may run, is skipped, or must wait."""
        attempt = self.held_attempt(job)
        if job.status is not S.CREATED and attempt is None:
            return
        index = self._ledger.index_of(job)
        before = index.before(job)
        if before is Outcome.OPEN and not is_doomed(job, index):
            self._wait_for_needs(job, index)
        elif not is_asked_for(job, before):
            self._skip(job, attempt, "skipped: " + why_skipped(job, index))
        elif attempt is not None:
            self._let_go(job, attempt)
        elif job.plan.when == "manual" and not job.played:
            self._ledger.move(job, JobEvent.ASK, "waits to be played")
            self._ledger.explain(job, "waits to be played")
            self._changed.append(job)
        elif job.plan.when == "delayed" and not job.played:
            self._delay(job)
        else:
            self.queue(job, "may run")

    def queue(self, job: JobState, text: str) -> None:
        """Queues a runnable job; one that may not start what its trigger names fails at once."""
        event = JobEvent.REQUEUE if job.status not in (S.CREATED, S.MANUAL, S.SCHEDULED) else JobEvent.QUEUE
        self.delayed.pop(job.id, None)
        self._ledger.move(job, event, text)
        self._environments.job_begins(job)
        if (refusal := refused_trigger(job, self._ledger.run_of(job))) is not None:
            reason, text = refusal
            self.fail(job, reason, text, text)
        else:
            self._scheduler.enqueue(job)

    def resume_delay(self, job: JobState) -> None:
        """Continues a job's delay by the monotonic clock; by the wall clock only after a reboot."""
        now = self._ledger.now
        if job.not_before_mono is None or not now.boot or job.not_before_boot != now.boot:
            job.not_before_mono = now.mono + max(0.0, (job.not_before_at or now.wall) - now.wall)
            job.not_before_boot = now.boot
            self._ledger.touch_job(job)
        self.delayed[job.id] = job.not_before_mono

    def at_worker(self, job: JobState) -> None:
        """Considers dependents of a job that a worker has accepted or started: they may now be held ready."""
        if job.status is S.RUNNING:
            self._environments.job_begins(job)
        for dependent in self._ledger.index_of(job).dependents.get(job.plan.name, ()):
            self._scheduler.consider_holding(dependent)

    def end(self, job: JobState, event: JobEvent, text: str) -> None:
        """Ends a job, and decides all consequences at once."""
        self._ledger.move(job, event, text)
        self._environments.job_ended(job)
        self._scheduler.withdraw(job)
        self.delayed.pop(job.id, None)
        self._changed.append(job)
        self._settle()

    def fail(
        self, job: JobState, reason: FailureReason | None, message: str | None, text: str, *, code: int | None = None
    ) -> None:
        """Fails a job for good, by the script's exit code if given.

        The run is canceled if it says so (workflow:auto_cancel:on_job_failure).
        """
        job.failure_reason, job.message = reason, message
        if job.plan.allow_failure or (code is not None and code in job.plan.allow_failure_exit_codes):
            self._ledger.allow_to_fail(job)
        self.end(job, JobEvent.FAIL, text)
        run = self._ledger.run_of(job)
        if not job.allowed_to_fail and not run.canceling and run.plan.auto_cancel_on_job_failure == "all":
            self.cancel_run(run, f"{job.plan.name} failed (workflow: auto_cancel: on_job_failure)")

    def reset(self, job: JobState, text: str) -> None:
        """Makes an ended job run again, as if for the first time."""
        job.automatic_retries = 0
        job.not_before_at = None
        job.external = None
        self._ledger.give_workspace(job, None)
        self._ledger.move(job, JobEvent.RESET, text)

    def end_attempt(self, attempt: AttemptState, status: S, reason: FailureReason | None, message: str | None) -> None:
        """Ends an attempt and frees its slot."""
        self._ledger.detach(attempt)
        attempt.status = status
        attempt.failure_reason = reason
        attempt.message = message
        attempt.finished_at = self._ledger.now.wall
        self._ledger.touch_attempt(attempt)
        self._ledger.log_complete(attempt)
        self._scheduler.wake()

    def give_back(self, job: JobState, attempt: AttemptState, text: str) -> None:
        """Frees an attempt that never began and left nothing behind, for another worker."""
        self._ledger.detach(attempt)
        attempt.worker = ""
        attempt.status = S.PENDING
        attempt.status_seq = 0
        attempt.released = attempt.revoking = False
        self._ledger.touch_attempt(attempt)
        self._scheduler.wake()
        self._hand_out_again(job, text)

    def abandon(self, job: JobState, attempt: AttemptState, text: str) -> None:
        """Gives up an attempt that never began, together with its worker.

        The worker may still have a container of it, and two workers may share an engine. A new attempt therefore gets
        a new number, and with it another container name.
        """
        self.end_attempt(attempt, S.CANCELED, None, text)
        self._hand_out_again(job, text)

    def _hand_out_again(self, job: JobState, text: str) -> None:
        if self._ledger.index_of(job).before(job) is Outcome.OPEN:
            self._ledger.move(job, JobEvent.WITHDRAW, text)
        else:
            self._ledger.move(job, JobEvent.WITHDRAW if job.status is S.CREATED else JobEvent.REQUEUE, text)
            if job.status is S.PENDING:
                self._scheduler.enqueue(job)
        self.consider(job)
        self._settle()

    def cancel_run(self, run: RunState, text: str) -> int:
        """Cancels all jobs that have not ended, unstarted ones first, and the child runs that they have started.

        Returns the number of the run's own jobs that are affected.
        """
        run.canceling = True
        self._ledger.touch_run(run)
        jobs = self._ledger.indexes[run.id].jobs
        affected = sum(self.cancel_job(job, text) for job in sorted(jobs, key=lambda job: job.status in AT_WORKER))
        for child in self._ledger.children_of(run):
            if not child.canceling:
                self.cancel_run(child, f"{text}, as run {run.id} is")
        return affected

    def cancel_job(self, job: JobState, text: str) -> bool:
        """Ends an unstarted job at once; has the worker stop a started one. Returns False if it has already ended."""
        if job.status in ENDED:
            return False
        attempt = job.attempt
        worker = self._ledger.holder_of(attempt)
        if not goes_to_worker(job.plan) and attempt is not None and attempt.status not in ENDED:
            self._cancel_waiting(job, attempt, text)
        elif attempt is None or worker is None:
            self.end(job, JobEvent.CANCEL, text)
        elif not attempt.released or not worker.online:
            self._ledger.send(worker.name, m.DiscardAttempt(attempt=attempt.id))
            self.end_attempt(attempt, S.CANCELED, None, None)
            self.end(job, JobEvent.CANCEL, text)
        elif not attempt.canceling:
            attempt.canceling = True
            attempt.sent_mono = self._ledger.now.mono
            self._ledger.touch_attempt(attempt)
            self._ledger.tell(job, f"{text}: {worker.name} stops it")
            self._ledger.send(worker.name, m.CancelJob(attempt=attempt.id))
        return True

    def held_attempt(self, job: JobState) -> AttemptState | None:
        """The attempt that a worker holds ahead of the job's needs, if any."""
        attempt = job.attempt
        if attempt is None or attempt.released or job.status in ENDED:
            return None
        return attempt if self._ledger.holder_of(attempt) is not None else None

    # jobs that wait for a run

    def take_outcome(self, job: JobState, status: S, run: str) -> None:
        """Ends a job that waits for another run, which has ended in this status: with the same one, or with success or
        failure (`strategy: depend`). `run` names it.
        """
        attempt, trigger = job.attempt, job.plan.trigger
        if attempt is None:
            return
        text = f"{run} {HOW_IT_ENDED[status]}"
        if attempt.canceling:
            status = S.CANCELED
        elif trigger is not None and trigger.strategy != "mirror" and status is not S.SUCCESS:
            status = S.FAILED
        if status is S.FAILED:
            self.end_attempt(attempt, status, None, text)
            self.fail(job, None, text, text)
        else:
            self.end_attempt(attempt, status, None, None)
            self.end(job, OUTCOMES[status], text)

    def _cancel_waiting(self, job: JobState, attempt: AttemptState, text: str) -> None:
        """Cancels the child run that a job waits for, whose end is the job's; or the job, if there is none.

        As in GitLab, a run of another project goes on.
        """
        child = self._ledger.runs.get(job.child_runs[-1]) if job.status is S.RUNNING and job.child_runs else None
        if child is None or is_downstream(child):
            self.end_attempt(attempt, S.CANCELED, None, None)
            self.end(job, JobEvent.CANCEL, text if child is None else f"{text}; run {child.id} goes on")
            return
        attempt.canceling = True
        self._ledger.touch_attempt(attempt)
        if not child.canceling:
            self._ledger.tell(job, f"{text}: run {child.id} is canceled")
            self.cancel_run(child, f"{text}, as job {job.plan.name} of run {job.run_id} is")

    # helpers

    def _settle(self) -> None:
        if self._settling:
            return
        self._settling = True
        try:
            while self._changed:
                job = self._changed.popleft()
                index = self._ledger.index_of(job)
                for dependent in index.dependents.get(job.plan.name, ()):
                    self._push_dependency(dependent, job)
                    self.consider(dependent)
                self._advance(index)
        finally:
            self._settling = False

    def _advance(self, index: RunIndex) -> None:
        stages = index.run.stages
        while index.current_stage < len(stages):
            if any(tally.open for tally in index.stages[: index.current_stage + 1]):
                return
            self.finalize_stage_execution(stages[index.current_stage])
        if not index.total.open:
            self.finalize_pipeline_execution(index.run)

    def _push_dependency(self, dependent: JobState, job: JobState) -> None:
        """Notifies the worker holding `dependent` that one of its needs succeeded; `_let_go` handles the last one."""
        attempt = self.held_attempt(dependent)
        index = self._ledger.index_of(job)
        if attempt is not None and part_of(job) is Part.WELL and index.before(dependent) is Outcome.OPEN:
            sources = {source.plan.name for source in index.artifact_sources(dependent)}
            update = dependency(job, with_artifacts=job.plan.name in sources)
            self._ledger.send(attempt.worker, m.DependencyUpdate(attempt=attempt.id, dependency=update))

    def _let_go(self, job: JobState, attempt: AttemptState) -> None:
        """Releases a held job whose needs all succeeded, unless an idle worker can start it sooner."""
        if attempt.revoking:
            return
        worker = self._ledger.workers[attempt.worker]
        if self._scheduler.better_place(job, worker):
            self._scheduler.revoke(attempt)
            return
        index = self._ledger.index_of(job)
        sources = {source.plan.name for source in index.artifact_sources(job)}
        self._ledger.release(attempt)
        self._environments.job_begins(job)
        self._ledger.tell(job, "all its needs are done")
        if job.status is S.CREATED:
            self._ledger.move(job, JobEvent.QUEUE, "may run")
        self._ledger.explain(job, f"its needs are done; waits for a free slot on {attempt.worker}")
        for need in index.needs_of(job):
            update = dependency(need, with_artifacts=need.plan.name in sources)
            self._ledger.send(attempt.worker, m.DependencyUpdate(attempt=attempt.id, dependency=update))
        self.at_worker(job)

    def _skip(self, job: JobState, attempt: AttemptState | None, text: str) -> None:
        if attempt is not None:
            self._ledger.send(attempt.worker, m.DiscardAttempt(attempt=attempt.id))
            self.end_attempt(attempt, S.SKIPPED, None, None)
        self.end(job, JobEvent.SKIP, text)

    def _delay(self, job: JobState) -> None:
        now = self._ledger.now
        if job.not_before_at is None:
            job.not_before_at = now.wall + job.plan.start_in
            job.not_before_mono, job.not_before_boot = now.mono + job.plan.start_in, now.boot
        self.resume_delay(job)
        self._ledger.move(job, JobEvent.DELAY, f"waits for its delay of {job.plan.start_in:.0f} s")
        until = datetime.fromtimestamp(job.not_before_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._ledger.explain(job, f"delayed until {until}")

    def _wait_for_needs(self, job: JobState, index: RunIndex) -> None:
        if job.plan.needs is None:
            self._explain_stage_wait(job, index)
            return
        waiting = [need for need in index.needs_of(job) if is_open(need)]
        self._ledger.explain(job, f"waiting for {names(waiting)}")
        self._scheduler.consider_holding(job)

    def _explain_stage_wait(self, job: JobState, index: RunIndex) -> None:
        if job.stage_index > 0 and job.status is S.CREATED:
            self._ledger.explain(job, f"waiting for stage {index.run.stages[job.stage_index - 1].name}")
