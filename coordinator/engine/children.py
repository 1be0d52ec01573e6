"""Runs that jobs start, children and those of other projects: what is asked to be compiled, and the run of it. Pure.

Such a job goes to no worker. Its attempt is open from the request for the child's plan until the job ends, so an answer
names the attempt that it is for, and a child is created at most once for each. The job that started a child learns of
its end in `Flow.finalize_pipeline_execution`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from coordinator.engine.flow import Flow
from coordinator.engine.ledger import Ledger
from coordinator.engine.origins import called
from coordinator.engine.redundancy import cancel_redundant
from coordinator.engine.run_index import dependents_again
from coordinator.engine.runs import RunFactory
from coordinator.engine.state import AttemptState, JobState, RunState, goes_to_worker, is_downstream
from coordinator.engine.transitions import JobEvent
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.messages import Origin
from protocol.plan import Plan
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S
from protocol.views import ParentJob

TOKEN_PREFIX = "child-of-"
"""Begins the token of a child run; the rest is the attempt that started it. Clients' tokens are others."""


class Children:
    """Answers about child pipelines, and what a restart has to make up for."""

    def __init__(self, ledger: Ledger, flow: Flow, runs: RunFactory) -> None:
        self._ledger = ledger
        self._flow = flow
        self._runs = runs

    def awaited(self, attempt_id: str) -> RunState | None:
        """The run whose job still waits for the child's plan, if it does: it may have been canceled meanwhile."""
        found = self._waiting(attempt_id)
        return self._ledger.run_of(found[0]) if found is not None else None

    def start(self, attempt_id: str, plan: Plan, origin: Origin) -> int | None:
        """Starts the run of a plan that was made of `origin`. Returns its id; None if nobody waits for it any more, or
        the plan is unsound.
        """
        found = self._waiting(attempt_id)
        if found is None:
            return None
        job, attempt = found
        parent = self._ledger.run_of(job)
        plan = msgspec.structs.replace(plan, keep=parent.plan.keep)
        submission = submission_of(attempt_id, plan, parent, origin)
        try:
            run = self._runs.make(submission, self._ledger.now.wall, parent_of(parent, job))
        except ProtocolError as error:
            self.refuse(attempt_id, [str(error)])
            return None
        for new in self._ledger.add_run(run).jobs:
            self._ledger.touch_job(new)
        if is_downstream(run):
            cancel_redundant(run, self._ledger, self._flow)
        job.child_runs = [*job.child_runs, run.id]
        self._ledger.tell(job, f"started {called(run, parent)}")
        if job.plan.trigger is not None and job.plan.trigger.strategy != "none":
            self._wait(job, attempt, run)
        else:
            self._flow.end_attempt(attempt, S.SUCCESS, None, None)
            self._flow.end(job, JobEvent.SUCCEED, f"does not wait for run {run.id}")
        self._flow.execute_first_stage(run)
        return run.id

    def refuse(
        self,
        attempt_id: str,
        problems: list[str],
        reason: FailureReason = FailureReason.DOWNSTREAM_PIPELINE_CREATION_FAILED,
    ) -> None:
        """Fails the job whose run can't be had, with all problems in its message."""
        if (found := self._waiting(attempt_id)) is not None:
            job, attempt = found
            message = "\n".join(problems)
            self._flow.end_attempt(attempt, S.FAILED, reason, message)
            what = "the other pipeline" if job.plan.trigger and job.plan.trigger.project else "its child pipeline"
            self._flow.fail(job, reason, message, f"{what} can't be created: {message}")

    def resume(self, runs: Iterable[RunState]) -> None:
        """Fails jobs that wait for a run that the store could not read."""
        for run in runs:
            for job in self._ledger.indexes[run.id].jobs:
                attempt = job.attempt
                if goes_to_worker(job.plan) or job.status is not S.RUNNING or attempt is None:
                    continue
                if self._ledger.awaited(job) is None:
                    text = "the run that it waits for is no longer there"
                    self._flow.end_attempt(attempt, S.FAILED, FailureReason.RUNNER_SYSTEM_FAILURE, text)
                    self._flow.fail(job, FailureReason.RUNNER_SYSTEM_FAILURE, text, text)

    def reopen_ancestors(self, run: RunState, finished: Mapping[int, RunState]) -> None:
        """Makes the jobs that took the outcome of an ended run wait for it again, and runs their dependents again.

        `finished` are the run's ancestors that have ended, by id. To be called before the run itself continues.
        """
        while run.parent is not None:
            parent = self._ledger.runs.get(run.parent.run) or finished.get(run.parent.run)
            job = _job(parent, run.parent.job) if parent is not None else None
            if parent is None or job is None or not _takes_outcome_of(job, run) or job.status not in ENDED:
                return
            if parent.id not in self._ledger.runs:
                self._ledger.add_run(parent)
            parent.canceling = False
            self._ledger.touch_run(parent)
            for again in dependents_again(self._ledger.indexes[parent.id].jobs, [job]):
                again.played = again.played and again is job
                self._flow.reset(again, f"runs again: run {run.id} continues")
            attempt = self._ledger.open_attempt(job)
            self._ledger.move(job, JobEvent.QUEUE, f"waits for run {run.id} again")
            self._wait(job, attempt, run)
            self._flow.resume(parent)
            run = parent

    def _wait(self, job: JobState, attempt: AttemptState, run: RunState) -> None:
        """Makes a job wait for the end of a child run."""
        attempt.status = S.RUNNING
        attempt.started_at = job.started_at = self._ledger.now.wall
        self._ledger.touch_attempt(attempt)
        self._ledger.move(job, JobEvent.START, f"waits for run {run.id}")

    def _waiting(self, attempt_id: str) -> tuple[JobState, AttemptState] | None:
        found = self._ledger.find_attempt(attempt_id)
        if found is None or found[0].plan.trigger is None or found[0].status is not S.PENDING:
            return None
        return found if found[1].status is S.PENDING else None


def _job(run: RunState, name: str) -> JobState | None:
    return next((job for stage in run.stages for job in stage.jobs if job.plan.name == name), None)


def _takes_outcome_of(job: JobState, run: RunState) -> bool:
    trigger = job.plan.trigger
    return trigger is not None and trigger.strategy != "none" and job.child_runs[-1:] == [run.id]


def parent_of(run: RunState, job: JobState) -> ParentJob:
    """What a run that this job starts has as its parent."""
    root = run.parent.root if run.parent else run.id
    if job.plan.trigger is not None and job.plan.trigger.project:
        return ParentJob(run=run.id, job=job.plan.name, level=0, project=run.plan.project, root=root)
    return ParentJob(run=run.id, job=job.plan.name, level=run.parent.level + 1 if run.parent else 1, root=root)


def submission_of(attempt_id: str, plan: Plan, parent: RunState, origin: Origin) -> m.SubmitRun:
    """A run that a job starts, as if a client had submitted it: with the snapshot and the commit of its origin.

    What a fork's commit starts is not trusted more than the commit, whatever it is made of. No trigger starts it.
    """
    starts_more = any(job.trigger is not None for job in plan.jobs)
    return m.SubmitRun(
        id=0,
        token=f"{TOKEN_PREFIX}{attempt_id}",
        plan=plan,
        source=msgspec.structs.replace(origin.source, trigger=None, fork=origin.source.fork or parent.source.fork),
        workspace=origin.workspace,
        projects=list(parent.projects) if starts_more else [],
    )
