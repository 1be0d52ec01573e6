"""Builds assignments and their dependencies for workers. Pure."""

from __future__ import annotations

import msgspec

from coordinator.engine.run_index import Outcome, Part, RunIndex, part_of
from coordinator.engine.state import AttemptState, JobState, RunState
from protocol.job_inputs import interpolated
from protocol.job_variables import of_job
from protocol.messages import Assignment, Dependency
from protocol.statuses import ENDED, FailureReason


def moves(job: JobState) -> bool:
    """Whether the job is restarted on another worker when its own is lost (guarantee 4), instead of surviving there."""
    retry = job.plan.retry
    return retry.max > 0 and FailureReason.RUNNER_SYSTEM_FAILURE.value in retry.when


def dependency(job: JobState, *, with_artifacts: bool) -> Dependency:
    """The state of a job, as sent to its dependents' workers."""
    attempt = job.attempt
    ended = job.status in ENDED and attempt is not None
    return Dependency(
        job=job.plan.name,
        status=job.status,
        satisfied=part_of(job) is Part.WELL,
        artifacts=list(attempt.artifacts) if attempt and ended and with_artifacts else [],
        variables=dict(attempt.dotenv) if attempt and ended and with_artifacts else {},
    )


def dependencies(job: JobState, index: RunIndex) -> list[Dependency]:
    """All dependencies of an attempt of `job`: the jobs that gate it, and the sources of its files and variables, also
    those in other pipelines.

    Once a job is released, no dependency gates it, whatever its needs' outcome (`when: always`). A job that is being
    revoked stays gated, even when all of its needs have ended.
    """
    sources = index.artifact_sources(job)
    named = {source.plan.name for source in sources}
    attempt = job.attempt
    released = attempt is not None and attempt.released
    called_back = not released and index.before(job) is not Outcome.OPEN
    result = []
    for need in index.needs_of(job):
        if not released or need.plan.name in named:
            entry = dependency(need, with_artifacts=need.plan.name in named)
            result.append(_with(entry, satisfied=True if released else entry.satisfied and not called_back))
    if job.plan.needs is None:
        for source in sources:
            if source.attempt and (source.attempt.artifacts or source.attempt.dotenv):
                result.append(_with(dependency(source, with_artifacts=True), satisfied=True))
    return result + (job.external.sources if job.external is not None else [])


def _with(entry: Dependency, *, satisfied: bool) -> Dependency:
    return msgspec.structs.replace(entry, satisfied=satisfied)


def refers_to(job: JobState, run: RunState, digest: str) -> bool:
    """Whether a blob belongs to the job's run, or comes to the job from another one: an attempt's worker may read it.

    Artifacts of earlier attempts count: a dependent that has begun keeps those that it was given.
    """
    workspaces = [run.workspace, *job.own_workspaces.values()]
    if any(blob.digest == digest for workspace in workspaces if workspace is not None for blob in workspace.blobs):
        return True
    if job.external is not None and any(
        ref.digest == digest for source in job.external.sources for ref in source.artifacts
    ):
        return True
    return any(
        ref.digest == digest
        for stage in run.stages
        for other in stage.jobs
        for attempt in other.attempts
        for ref in attempt.artifacts
    )


def assignment(job: JobState, attempt: AttemptState, index: RunIndex, *, log_limit: int, lease: float) -> Assignment:
    """The complete assignment of an attempt."""
    run = index.run
    workspace = job.own_workspace(attempt.number) or run.workspace
    return Assignment(
        attempt=attempt.id,
        run=run.id,
        job_id=job.id,
        number=attempt.number,
        project=run.plan.project,
        project_dir=run.plan.project_dir,
        job=interpolated(job.plan, attempt.inputs),
        predefined=run.plan.predefined,
        variables=of_job(run.id, run.created_at or 0.0, job.id),
        run_variables=[*run.plan.run_variables, *job.play_variables],
        workspace=workspace and workspace.for_worker,
        default_image=run.plan.default_image,
        dependencies=dependencies(job, index),
        log_limit=job.plan.resources.log_limit or log_limit,
        lease=lease if moves(job) else None,
        to_come=max(0, index.total.open - 1),
        keep=run.plan.keep.of(job.plan.name) if run.plan.keep is not None else None,
    )
