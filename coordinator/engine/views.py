"""Turns states into what readers see. Pure; used by the engine for events and by the store for finished runs."""

from __future__ import annotations

from coordinator.engine.index import RunIndex, Tally
from coordinator.engine.state import AttemptState, JobState, RunState, StageState, WorkerState
from protocol.statuses import WorkerStatus
from protocol.variables import VariableTooLong, expand, references
from protocol.views import AttemptView, JobView, RunSummary, RunView, StageView, WorkerView


def attempt_view(attempt: AttemptState) -> AttemptView:
    """One try, as shown in a job's details."""
    return AttemptView(
        id=attempt.id,
        number=attempt.number,
        status=attempt.status,
        worker=attempt.worker or None,
        exit_code=attempt.exit_code,
        failure_reason=attempt.failure_reason,
        message=attempt.message,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
    )


def job_view(job: JobState, index: RunIndex | None = None) -> JobView:
    """One job with its current attempt's facts. By `index` the address of its environment is known in full."""
    attempt = job.attempt
    environment = job.plan.environment
    return JobView(
        id=job.id,
        name=job.plan.name,
        status=job.status,
        attempt=attempt.number if attempt else 0,
        attempt_id=attempt.id if attempt else None,
        worker=(attempt.worker or None) if attempt else None,
        exit_code=attempt.exit_code if attempt else None,
        failure_reason=job.failure_reason,
        message=job.message,
        allow_failure=job.plan.allow_failure or job.allowed_to_fail,
        when=job.plan.when,
        needs=[need.job for need in job.plan.needs or ()],
        by_stage=job.plan.needs is None,
        pending_reason=job.pending_reason,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        artifacts=list(attempt.artifacts) if attempt else [],
        tests=attempt.tests if attempt else None,
        coverage=attempt.coverage if attempt else None,
        environment=environment.name if environment else None,
        environment_url=_address(environment.url, job, index) if environment else None,
    )


def _address(url: str, job: JobState, index: RunIndex | None) -> str | None:
    """Where an environment is reached; what only the run knows of it, the `reports:dotenv` of the job tell, and of
    those whose artifacts it gets.
    """
    if "$" not in url:
        return url or None
    attempts = [source.attempt for source in (*(index.artifact_sources(job) if index else ()), job)]
    known = {name: value for attempt in attempts if attempt for name, value in attempt.dotenv.items()}
    try:
        return expand(url, known, keep=references(url) - known.keys()) or None
    except VariableTooLong:
        return url


def stage_view(stage: StageState, *, with_jobs: bool, index: RunIndex | None = None) -> StageView:
    """One stage; its jobs only where they are asked for."""
    return StageView(
        name=stage.name,
        status=stage.status,
        started_at=stage.started_at,
        finished_at=stage.finished_at,
        jobs=[job_view(job, index) for job in stage.jobs] if with_jobs else [],
    )


def run_summary(run: RunState, tally: Tally | None = None) -> RunSummary:
    """One line of the list of runs. The jobs are counted here unless the caller keeps a tally of them."""
    return RunSummary(**_summary(run, tally))  # type: ignore[arg-type]


def run_view(run: RunState) -> RunView:
    """A run with its stages and jobs."""
    environments = [job.plan.environment for stage in run.stages for job in stage.jobs]
    index = RunIndex(run) if any(known and "$" in known.url for known in environments) else None
    stages = [stage_view(stage, with_jobs=True, index=index) for stage in run.stages]
    return RunView(**_summary(run, None), stages=stages)  # type: ignore[arg-type]


def _summary(run: RunState, tally: Tally | None) -> dict[str, object]:
    tally = tally or Tally(job for stage in run.stages for job in stage.jobs)
    return {
        "id": run.id,
        "name": run.plan.name,
        "status": run.status,
        "project": run.plan.project,
        "ref": run.source.ref,
        "sha": run.source.sha,
        "title": run.source.title,
        "warnings": tally.warnings(),
        "counts": tally.counts(),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def worker_view(worker: WorkerState, jobs: list[str]) -> WorkerView:
    """One worker; `jobs` are what it runs and holds, as people name them.

    More jobs can be released at a worker than it has slots: those that it held all become ready when their last need
    ends. They wait there until a slot is free, and are shown so.
    """
    running = min(worker.active, worker.slots)
    status = WorkerStatus.OFFLINE
    if worker.online:
        status = WorkerStatus.DRAINING if worker.draining else WorkerStatus.ONLINE
    return WorkerView(
        name=worker.name,
        status=status,
        slots=worker.slots,
        running=running,
        waiting=worker.held + worker.active - running,
        labels=worker.labels,
        last_seen=worker.last_seen_at,
        jobs=jobs,
        engine=worker.engine,
    )
