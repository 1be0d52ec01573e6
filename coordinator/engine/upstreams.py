"""Jobs that need something of other pipelines: artifacts (`needs:project`, `needs:pipeline:job`), or the status of a
run (`needs:pipeline`). Pure.

A queued job asks for it with a `LookUp`, and waits for the answer; what was found is kept with the job until it is
retried.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from coordinator.engine.flow import Flow
from coordinator.engine.ledger import Ledger
from coordinator.engine.scheduler import Scheduler
from coordinator.engine.state import External, JobState, RunState
from coordinator.engine.transitions import JobEvent
from protocol.messages import Dependency
from protocol.statuses import ENDED, FailureReason
from protocol.statuses import ExecutionStatus as S


class LatestRun(msgspec.Struct, frozen=True):
    """The latest run of a project, as the store has it."""

    id: int
    project: str
    status: S


class Upstreams:
    """Answers to look-ups, and what a restart has to make up for."""

    def __init__(self, ledger: Ledger, scheduler: Scheduler, flow: Flow) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._flow = flow

    def found(self, job_id: int, sources: list[Dependency]) -> None:
        """Queues a job with what it needs."""
        job = self._asking(job_id)
        if job is None or not job.plan.external_needs:
            return
        job.external = External(sources=sources)
        self._ledger.touch_job(job)
        if sources:
            self._ledger.tell(job, f"gets artifacts of {', '.join(source.job for source in sources)}")
        self._scheduler.enqueue(job)

    def missing(self, job_id: int, problems: list[str]) -> None:
        """Fails a job, with all problems in its message."""
        job = self._asking(job_id)
        if job is not None:
            text = "\n".join(problems)
            self._flow.fail(job, FailureReason.MISSING_DEPENDENCY_FAILURE, text, text)

    def mirrored(self, job_id: int, latest: LatestRun | None) -> None:
        """Has a job wait for the end of a run, or take its status if it has ended."""
        job = self._asking(job_id)
        if job is None or job.attempt is None or not job.plan.mirrors:
            return
        if latest is None:
            text = (
                f"this coordinator has no run of the default branch of {job.plan.mirrors}, "
                "whose status the job takes (needs:pipeline): run that project here first"
            )
            self._refuse(job, FailureReason.UPSTREAM_BRIDGE_PROJECT_NOT_FOUND, text)
            return
        name = f"run {latest.id} of {latest.project}"
        run = self._ledger.runs.get(latest.id)
        if run is not None and self._ledger.waits_for(run, self._ledger.run_of(job)):
            text = f"{name} waits for the run of this job, whose status the job would take: neither would ever end"
            self._refuse(job, FailureReason.PIPELINE_LOOP_DETECTED, text)
            return
        job.external = External(mirrors=latest.id)
        attempt = job.attempt
        attempt.status = S.RUNNING
        attempt.started_at = job.started_at = self._ledger.now.wall
        self._ledger.touch_attempt(attempt)
        self._ledger.move(job, JobEvent.START, f"waits for {name}")
        if run is not None:
            self._ledger.mirrors.setdefault(run.id, []).append(job)
        elif latest.status in ENDED:
            self._flow.take_outcome(job, latest.status, name)

    def resume(self, runs: Iterable[RunState]) -> None:
        """Restores which jobs wait for which runs."""
        for run in runs:
            for job in self._ledger.indexes[run.id].jobs:
                if job.plan.mirrors and (awaited := self._ledger.awaited(job)) is not None:
                    self._ledger.mirrors.setdefault(awaited.id, []).append(job)

    def _refuse(self, job: JobState, reason: FailureReason, text: str) -> None:
        assert job.attempt is not None
        self._flow.end_attempt(job.attempt, S.FAILED, reason, text)
        self._flow.fail(job, reason, text, text)

    def _asking(self, job_id: int) -> JobState | None:
        """A job that still waits for an answer; it may have been canceled meanwhile."""
        job = self._ledger.jobs.get(job_id)
        if job is None or job.status is not S.PENDING or self._ledger.holder_of(job.attempt) is not None:
            return None
        return job if job.plan.mirrors or job.external is None else None
