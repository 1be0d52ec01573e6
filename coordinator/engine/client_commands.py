"""Client commands: submit, cancel, retry, play, drain. Pure.

Each raises ProtocolError, with a message for people, if it is not possible.
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.engine.children import Children
from coordinator.engine.flow import Flow
from coordinator.engine.forks import TOLD
from coordinator.engine.ledger import Ledger
from coordinator.engine.redundancy import cancel_redundant
from coordinator.engine.run_index import dependents_again
from coordinator.engine.runs import RunFactory
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.state import JobState, RunState, goes_to_worker
from coordinator.engine.transitions import JobEvent, may
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.job_inputs import BadInput, changed
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S
from protocol.workspace import Workspace


class ClientCommands:
    """The engine's half for clients."""

    def __init__(self, ledger: Ledger, scheduler: Scheduler, flow: Flow, runs: RunFactory, children: Children) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._flow = flow
        self._runs = runs
        self._children = children

    def submit_run(self, message: m.SubmitRun, known: int | None) -> m.RunSubmitted:
        """Starts a run, unless its token has already started one."""
        known = known or next((run.id for run in self._ledger.runs.values() if run.token == message.token), None)
        if known is not None:
            return m.RunSubmitted(id=message.id, run=known)
        run = self._runs.make(message, self._ledger.now.wall)
        self._ledger.add_run(run)
        for stage in run.stages:
            for job in stage.jobs:
                self._ledger.touch_job(job)
                if run.source.fork:
                    self._ledger.tell(job, TOLD)
        cancel_redundant(run, self._ledger, self._flow)
        self._flow.execute_first_stage(run)
        return m.RunSubmitted(id=message.id, run=run.id)

    # cancel

    def cancel(self, message: m.Cancel) -> m.Done:
        """Cancels a run or one job: unstarted jobs end at once, running ones are stopped by their workers."""
        run = self._unfinished(message.run)
        if message.job is None:
            return m.Done(id=message.id, count=self._flow.cancel_run(run, "canceled"))
        job = self._job(run, message.job)
        if job.status in ENDED:
            raise ProtocolError("bad_request", f"job {job.plan.name!r} of run {run.id} is already {job.status.value}")
        return m.Done(id=message.id, count=int(self._flow.cancel_job(job, "canceled")))

    # retry and play

    def retry(self, message: m.Retry, finished: Mapping[int, RunState]) -> m.Done:
        """Retries jobs that did not succeed, and their dependents; successful jobs are kept.

        A job keeps the values of its inputs, except those given. It gets the run's files, unless others are given.
        """
        run = self._ledger.runs.get(message.run) or finished.get(message.run)
        if run is None:
            raise ProtocolError("not_found", f"there is no run {message.run}")
        jobs = [job for stage in run.stages for job in stage.jobs]
        if message.job is not None:
            job = self._job(run, message.job)
            if job.status not in ENDED:
                if message.workspace is not None and _has(job, message.workspace):
                    return m.Done(id=message.id, count=0)  # asked again by a client that got no answer
                raise ProtocolError("bad_request", f"job {message.job!r} of run {run.id} is {job.status.value}")
            chosen = [job]
        elif message.failed_only:
            chosen = [job for job in jobs if job.status is S.FAILED]
        else:
            chosen = [job for job in jobs if job.status in (S.FAILED, S.CANCELED, S.SKIPPED)]
        if not chosen:
            raise ProtocolError("bad_request", f"run {run.id} has no job to retry: all ended jobs succeeded")
        if message.inputs and message.job is None:
            raise ProtocolError("bad_request", "inputs are those of one job: name the job")
        if message.workspace is not None:
            _check_own_workspace(run, message)
        again = dependents_again(jobs, chosen)
        if message.inputs:
            _set_inputs(chosen[0], message.inputs)
        had_ended = self._reopen(run, finished)
        own_files = ", on files of its own" if message.workspace is not None else ""
        retried = "retried" + _with_inputs(message.inputs) + own_files
        for job in again:
            by_hand = job in chosen
            self._flow.reset(job, retried if by_hand else "runs again: a job that it depends on is retried")
            job.played = by_hand and (job.played or job.plan.name == message.job)
            if by_hand:
                self._ledger.give_workspace(job, message.workspace)
        self._flow.resume(run)
        if had_ended:
            self._fail_without_artifacts(run, again)
        return m.Done(id=message.id, count=len(again))

    def _reopen(self, run: RunState, finished: Mapping[int, RunState] | None) -> bool:
        """Makes a run unfinished. Returns whether it had ended.

        The jobs that waited for it wait again, unless `finished` is None.
        """
        run.canceling = False
        had_ended = run.id not in self._ledger.runs
        if had_ended:
            self._ledger.add_run(run)
            if finished is not None:
                self._children.reopen_ancestors(run, finished)
        self._ledger.touch_run(run)
        return had_ended

    def _fail_without_artifacts(self, run: RunState, jobs: list[JobState]) -> None:
        """Fails those of `jobs` that need expired artifacts.

        Artifacts of an unfinished run do not expire, as in GitLab, which locks those of the latest pipeline.
        """
        index, now = self._ledger.indexes[run.id], self._ledger.now.wall
        for job in jobs:
            sources = [source for source in index.artifact_sources(job) if source.status in ENDED]
            expired = [source.plan.name for source in sources if artifacts_expired(source, now)]
            if expired and may(job.status, JobEvent.FAIL):
                whose, them = ", ".join(expired), "it" if len(expired) == 1 else "them"
                text = f"the artifacts of {whose} have expired (expire_in); retry {them} first"
                self._flow.fail(job, FailureReason.MISSING_DEPENDENCY_FAILURE, text, text)

    def play(self, message: m.Play, finished: Mapping[int, RunState]) -> m.Done:
        """Starts a manual or delayed job now, with additional variables and values of its inputs if given."""
        run = self._ledger.runs.get(message.run) or finished.get(message.run)
        if run is None:
            raise ProtocolError("not_found", f"there is no run {message.run}")
        job = self._job(run, message.job)
        if job.status not in (S.MANUAL, S.SCHEDULED):
            raise ProtocolError(
                "bad_request", f"job {message.job!r} of run {run.id} is {job.status.value}: there is nothing to play"
            )
        _set_inputs(job, message.inputs)
        job.play_variables = list(message.variables)
        self.start_now(run, job, finished, "played" + _with_inputs(message.inputs))
        return m.Done(id=message.id, count=1)

    def start_now(self, run: RunState, job: JobState, finished: Mapping[int, RunState] | None, text: str) -> None:
        """Runs a manual or delayed job, or one that has ended, whatever the outcome of the jobs before it.

        Jobs that have waited for the end of its run wait again, unless `finished` is None.
        """
        had_ended = self._reopen(run, finished)
        if job.status in ENDED:
            self._flow.reset(job, text)
        job.played = True
        self._flow.queue(job, text)
        jobs = self._ledger.indexes[run.id].jobs
        for dependent in dependents_again(jobs, [job]):
            if dependent.status is S.SKIPPED:
                self._flow.reset(dependent, f"runs after all: {job.plan.name} was played")
        self._flow.resume(run)
        if had_ended:
            self._fail_without_artifacts(run, [job])

    # workers and time

    def drain(self, message: m.DrainWorker) -> m.Done:
        """Starts or ends draining a worker, which then gets no new jobs; attempts that it only holds are revoked."""
        worker = self._ledger.workers.get(message.worker)
        if worker is None:
            known = ", ".join(sorted(self._ledger.workers)) or "none"
            raise ProtocolError("not_found", f"there is no worker {message.worker!r}; known: {known}")
        worker.draining = message.on
        self._ledger.touch_worker(worker)
        self._ledger.send(worker.name, m.Drain(on=message.on))
        if message.on:
            for attempt in worker.attempts.values():
                if not attempt.released and not attempt.revoking:
                    self._scheduler.revoke(attempt)
        self._scheduler.wake()
        return m.Done(id=message.id, count=len(worker.attempts))

    def check_time(self, pending_timeout: float | None) -> None:
        """Starts jobs whose delay has ended, and fails jobs that no worker has taken within `pending_timeout`."""
        now = self._ledger.now.mono
        for job_id, due in list(self._flow.delayed.items()):
            if due <= now:
                self._flow.queue(self._ledger.jobs[job_id], "its delay has ended")
        if pending_timeout is None:
            return
        for job_id, since in list(self._scheduler.queued_since().items()):
            job = self._ledger.jobs.get(job_id)
            if job is not None and now - since > pending_timeout and may(job.status, JobEvent.FAIL):
                job.failure_reason = FailureReason.STUCK_OR_TIMEOUT_FAILURE
                job.message = f"no worker took it within {pending_timeout:.0f} s: {job.pending_reason}"
                self._flow.end(job, JobEvent.FAIL, job.message)

    # helpers

    def _unfinished(self, run_id: int) -> RunState:
        run = self._ledger.runs.get(run_id)
        if run is None:
            raise ProtocolError("not_found", f"run {run_id} has ended or does not exist")
        return run

    def _job(self, run: RunState, name: str) -> JobState:
        for stage in run.stages:
            for job in stage.jobs:
                if job.plan.name == name:
                    return job
        raise ProtocolError("not_found", f"run {run.id} has no job {name!r}")


def _set_inputs(job: JobState, written: Mapping[str, str]) -> None:
    """Sets values of a job's inputs. Raises ProtocolError, and changes nothing, if the job can't run with them."""
    if not written:
        return
    try:
        job.inputs = changed(job.plan, job.inputs, written)
    except BadInput as error:
        raise ProtocolError("bad_request", str(error)) from None


def _check_own_workspace(run: RunState, message: m.Retry) -> None:
    """Raises ProtocolError if a job of the run can't get these files."""
    if message.project != run.plan.project:
        whose = f"run {run.id} is of the project {run.plan.project!r}"
        raise ProtocolError(
            "bad_request", f"{whose}, the files are of {message.project!r}; use a checkout of that project"
        )
    job = next((job for stage in run.stages for job in stage.jobs if job.plan.name == message.job), None)
    if job is None:
        raise ProtocolError("bad_request", "a workspace is for one job: name the job")
    if not goes_to_worker(job.plan):
        raise ProtocolError(
            "bad_request",
            f"job {job.plan.name!r} starts or mirrors another run: it has no files; retry a job of that run",
        )


def _has(job: JobState, workspace: Workspace) -> bool:
    """Whether an unfinished job has these files in place of its run's."""
    attempt = job.attempt
    own = job.own_workspace(attempt.number if attempt and attempt.status not in ENDED else job.next_number)
    return own is not None and own.id == workspace.id


def _with_inputs(written: Mapping[str, str]) -> str:
    return f", with {', '.join(written)}" if written else ""


def artifacts_expired(job: JobState, now: float) -> bool:
    """Whether the job's artifact archives have expired."""
    refs = job.attempt.artifacts if job.attempt else []
    return any(ref.kind == "archive" and ref.expires_at is not None and ref.expires_at <= now for ref in refs)
