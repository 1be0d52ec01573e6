"""Builds views from states. Pure; used by the engine for events and by queries for finished runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from coordinator.engine.run_index import RunIndex, Tally
from coordinator.engine.state import (
    AttemptState,
    EnvironmentState,
    JobState,
    KeptContainer,
    RunState,
    StageState,
    WorkerState,
)
from protocol.job_inputs import interpolated
from protocol.job_variables import as_path, of_job, of_worker, timestamp
from protocol.plan import Variable
from protocol.statuses import WorkerStatus
from protocol.variables import VariableTooLong, expand_with, references
from protocol.views import AttemptView, EnvironmentView, JobView, RunSummary, RunView, StageView, WorkerView

Kept = Mapping[str, KeptContainer]
"""Kept containers, by attempt."""
NONE_KEPT: Kept = MappingProxyType({})


def attempt_view(job: JobState, attempt: AttemptState) -> AttemptView:
    """An attempt, as shown in a job's details."""
    return AttemptView(
        id=attempt.id,
        number=attempt.number,
        status=attempt.status,
        worker=attempt.worker or None,
        exit_code=attempt.exit_code,
        failure_reason=attempt.failure_reason,
        message=attempt.message,
        inputs=dict(attempt.inputs),
        workspace=_own_workspace(job, attempt),
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
    )


def job_view(job: JobState, index: RunIndex | None = None, kept: Kept = NONE_KEPT) -> JobView:
    """A job with its current attempt. With `index`, variables in its environment's address are expanded."""
    attempt = job.attempt
    stays = next((kept[each.id] for each in reversed(job.attempts) if each.id in kept), None) if kept else None
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
        reports=attempt.reports.summary() if attempt and attempt.reports else None,
        coverage=attempt.coverage if attempt else None,
        release=attempt.release if attempt else None,
        pages=attempt.pages if attempt else None,
        child_runs=list(job.child_runs),
        downstream_project=(job.plan.trigger.project or None) if job.plan.trigger else None,
        mirrors=job.external.mirrors if job.external else None,
        workspace=_own_workspace(job, attempt),
        environment=environment.name if environment else None,
        environment_url=environment_address(job, index) or None if environment else None,
        kept_until=stays.until if stays is not None else None,
    )


def _own_workspace(job: JobState, attempt: AttemptState | None) -> str | None:
    workspace = job.own_workspace(attempt.number) if attempt else None
    return workspace.id if workspace else None


def environment_address(job: JobState, index: RunIndex | None) -> str:
    """The address of a job's environment, with its known variables expanded except secrets and masked ones.

    Variables from the job's own `reports:dotenv` are known once it has ended.
    """
    url = job.plan.environment.url if job.plan.environment else ""
    if index is None or not references(url):
        return url
    run, attempt = index.run.plan, job.attempt
    plan = interpolated(job.plan, attempt.inputs) if attempt else job.plan
    sources = [source.attempt.dotenv for source in index.artifact_sources(job) if source.attempt]
    image = plan.image.name if plan.image else run.default_image or ""
    layers: list[Iterable[Variable]] = [
        of_worker(plan, attempt.worker, image, run.project_dir) if attempt else (),
        _raw({"CI_JOB_STARTED_AT": _time(attempt.started_at)} if attempt and attempt.started_at else {}),
        run.predefined,
        of_job(index.run.id, index.run.created_at or 0.0, job.id),
        plan.variables,
        *(_raw(left) for left in sources),
        run.run_variables,
        job.play_variables,
        _raw(attempt.dotenv) if attempt else (),
    ]
    visible = (as_path(variable, run.project_dir) for layer in layers for variable in layer if not variable.masked)
    try:
        return expand_with(url, visible)
    except VariableTooLong:
        return url


def _raw(values: Mapping[str, str]) -> Iterable[Variable]:
    return (Variable(key=key, value=value, raw=True) for key, value in values.items())


def _time(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(seconds, UTC))


def stage_view(
    stage: StageState, *, with_jobs: bool, index: RunIndex | None = None, kept: Kept = NONE_KEPT
) -> StageView:
    """A stage, with its jobs if requested."""
    return StageView(
        name=stage.name,
        status=stage.status,
        started_at=stage.started_at,
        finished_at=stage.finished_at,
        jobs=[job_view(job, index, kept) for job in stage.jobs] if with_jobs else [],
    )


def run_summary(run: RunState, tally: Tally | None = None) -> RunSummary:
    """A run's line in the list of runs. Counts the jobs, unless the caller has a tally of them."""
    return RunSummary(**_summary(run, tally))  # type: ignore[arg-type]


def run_view(run: RunState, kept: Kept = NONE_KEPT) -> RunView:
    """A run with its stages and jobs; `kept` are the kept containers of all runs."""
    environments = [job.plan.environment for stage in run.stages for job in stage.jobs]
    index = RunIndex(run) if any(known and references(known.url) for known in environments) else None
    stages = [stage_view(stage, with_jobs=True, index=index, kept=kept) for stage in run.stages]
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
        "parent": run.parent,
        "trigger": run.source.trigger,
        "event": run.source.event,
        "fork": run.source.fork,
    }


def environment_view(environment: EnvironmentState) -> EnvironmentView:
    """An environment."""
    return EnvironmentView(
        project=environment.project,
        name=environment.name,
        slug=environment.slug,
        tier=environment.tier,
        status=environment.status,
        deployment=environment.deployment,
        url=environment.url,
        stop_jobs=list(environment.stop_jobs),
        auto_stop_at=environment.auto_stop_at,
        stopped_at=environment.stopped_at,
        message=environment.message,
    )


def worker_view(worker: WorkerState, jobs: list[str], kept: list[str]) -> WorkerView:
    """A worker; `jobs` are the names of those that it runs and holds, `kept` of those whose containers it keeps.

    A worker can have more released jobs than slots, as held jobs all become ready when their last need ends. The
    surplus waits there for a free slot, and is shown as waiting.
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
        kept=kept,
        executor=worker.executor,
    )
