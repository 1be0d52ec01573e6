"""Converts the engine's objects to rows and back. Pure: rows are plain tuples in the models' column order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from coordinator.engine.effects import KeptTests, OwnWorkspace, Story
from coordinator.engine.interning import intern_parts
from coordinator.engine.origins import ref_of
from coordinator.engine.state import (
    NO_INPUTS,
    NO_PROJECTS,
    NO_RUNS,
    AttemptState,
    External,
    JobState,
    KeptContainer,
    RunState,
    StageState,
    WorkerState,
)
from coordinator.store.columns import as_json as _json
from coordinator.store.columns import load as _load
from coordinator.store.columns import maybe_text as _maybe_text
from coordinator.store.columns import text as _text
from protocol.decoders import from_json
from protocol.messages import Origin, Source
from protocol.plan import InputValue, JobPlan, Plan, Release, Variable
from protocol.reports import JobReports
from protocol.statuses import ExecutionStatus, FailureReason
from protocol.views import (
    ArtifactRef,
    ExecutorInfo,
    JUnitSummary,
    Pages,
    ParentJob,
    RunSummary,
    StoryLine,
)
from protocol.workspace import Workspace

Row = tuple[Any, ...]
Query = Callable[[Any], list[Row]]
"""Returns the rows that a query finds."""


def workspace_of(text: str) -> Workspace:
    """A workspace of its column in `RunWorkspace`. Raises msgspec.MsgspecError."""
    return from_json(text, cast("type[Workspace]", Workspace))


def _reason(value: FailureReason | None) -> str | None:
    return None if value is None else value.value


def _reason_of(value: str | None) -> FailureReason | None:
    return None if value is None else FailureReason(value)


def projects_of(text: str) -> list[Origin]:
    """The projects of their column in `RunProjects`. Raises msgspec.MsgspecError."""
    return from_json(text, list[Origin])


def run_row(run: RunState) -> Row:
    """A row of `Run`."""
    return (
        run.id,
        run.token,
        _text(run.plan.name),
        _text(run.plan.project),
        _json(run.source),
        run.status.value,
        run.canceling,
        run.created_at,
        run.started_at,
        run.finished_at,
        _json(run.parent) if run.parent else None,
        _text(ref_of(run)),
        (run.parent.root or None) if run.parent else None,
    )


def plan_row(run: RunState) -> Row:
    """A row of `RunPlan`."""
    return run.id, _json(run.plan)


def workspace_row(run: RunState) -> Row:
    """A row of `RunWorkspace`, of a run that has one."""
    return run.id, _json(run.workspace)


def projects_row(run: RunState) -> Row:
    """A row of `RunProjects`, of a run that has some."""
    return run.id, _json(list(run.projects))


def stage_row(stage: StageState) -> Row:
    """A row of `Stage`."""
    return stage.run_id, stage.index, _text(stage.name), stage.status.value, stage.started_at, stage.finished_at


def job_row(job: JobState) -> Row:
    """A row of `Job`."""
    return (
        job.id,
        job.run_id,
        job.stage_index,
        _text(job.plan.name),
        job.status.value,
        _maybe_text(job.pending_reason),
        _reason(job.failure_reason),
        _maybe_text(job.message),
        job.allowed_to_fail,
        job.played,
        _json(job.play_variables),
        job.automatic_retries,
        job.not_before_at,
        job.created_at,
        job.started_at,
        job.finished_at,
        job.not_before_mono,
        job.not_before_boot,
        _json(list(job.child_runs)) if job.child_runs else None,
        None if job.external is None else _json(job.external),
        _json(job.inputs) if job.inputs else None,
    )


def attempt_row(attempt: AttemptState) -> Row:
    """A row of `Attempt`."""
    return (
        attempt.id,
        attempt.job_id,
        attempt.number,
        _text(attempt.worker),
        attempt.status.value,
        attempt.status_seq,
        attempt.released,
        attempt.canceling,
        attempt.revoking,
        attempt.exit_code,
        _reason(attempt.failure_reason),
        _maybe_text(attempt.message),
        _json(attempt.artifacts),
        _json(attempt.dotenv),
        None if attempt.tests is None else _json(attempt.tests),
        attempt.coverage,
        attempt.log_length,
        attempt.assigned_at,
        attempt.started_at,
        attempt.finished_at,
        None if attempt.release is None else _json(attempt.release),
        None if attempt.pages is None else _json(attempt.pages),
        _json(attempt.inputs) if attempt.inputs else None,
        None if attempt.reports is None else _json(attempt.reports),
    )


def tests_row(tests: KeptTests) -> Row:
    """A row of `AttemptTests`."""
    return tests.job, tests.number, tests.files, tests.results


def own_workspace_row(own: OwnWorkspace) -> Row:
    """A row of `OwnWorkspace`."""
    return own.job, own.number, None if own.workspace is None else _json(own.workspace)


def kept_row(kept: KeptContainer) -> Row:
    """A row of `Kept`."""
    return kept.attempt, kept.run, _text(kept.job), _text(kept.worker), kept.until


def worker_row(worker: WorkerState) -> Row:
    """A row of `Worker`."""
    return (
        _text(worker.name),
        _json(worker.labels),
        worker.run_untagged,
        worker.slots,
        worker.draining,
        worker.disk_low,
        worker.last_seen_at,
        _json(worker.executor),
    )


def story_row(id: int, story: Story) -> Row:
    """A row of `StoryLine`."""
    return id, story.run_id, _text(story.job), story.attempt, story.at, _text(story.text)


def audit_row(id: int, line: Row) -> Row:
    """A row of `AuditLine`."""
    at, actor, role, action, subject, detail = line
    return id, at, _text(actor), role, action, _text(subject), _text(detail)


def run_of(row: Row, plan_json: str, workspace: str | None, projects: str | None) -> RunState:
    """The run of a row of `Run`, without its stages."""
    id, token, _, _, source, status, canceling, created, started, finished, parent, _, _ = row
    return RunState(
        id=id,
        token=token,
        plan=_load(Plan, plan_json),
        source=_load(Source, source),
        stages=[],
        workspace=workspace_of(workspace) if workspace else None,
        status=ExecutionStatus(status),
        canceling=bool(canceling),
        created_at=created,
        started_at=started,
        finished_at=finished,
        parent=_load(ParentJob, parent) if parent else None,
        projects=projects_of(projects) if projects else NO_PROJECTS,
    )


def stage_of(row: Row) -> StageState:
    """The stage of a row of `Stage`, without its jobs."""
    run_id, index, name, status, started, finished = row
    return StageState(
        run_id=run_id,
        index=index,
        name=name,
        jobs=[],
        status=ExecutionStatus(status),
        started_at=started,
        finished_at=finished,
    )


def job_plans(plan: Plan) -> dict[str, JobPlan]:
    """The jobs of a plan by their names in `Job` rows."""
    intern_parts(plan.jobs)
    return {_text(job.name): job for job in plan.jobs}


def job_of(row: Row, plans: Mapping[str, JobPlan]) -> JobState:
    """The job of a row of `Job`, without its attempts; `plans` are `job_plans` of its run."""
    (
        id,
        run_id,
        stage_index,
        name,
        status,
        pending_reason,
        failure_reason,
        message,
        allowed_to_fail,
        played,
        play_variables,
        automatic_retries,
        not_before,
        created,
        started,
        finished,
        not_before_mono,
        not_before_boot,
        child_runs,
        external,
        inputs,
    ) = row
    return JobState(
        id=id,
        run_id=run_id,
        stage_index=stage_index,
        plan=plans[name],
        status=ExecutionStatus(status),
        pending_reason=pending_reason,
        failure_reason=_reason_of(failure_reason),
        message=message,
        child_runs=_load(list[int], child_runs) if child_runs else NO_RUNS,
        external=_load(External, external) if external else None,
        allowed_to_fail=bool(allowed_to_fail),
        played=bool(played),
        play_variables=_load(list[Variable], play_variables),
        inputs=_load(dict[str, InputValue], inputs) if inputs else NO_INPUTS,
        automatic_retries=automatic_retries,
        not_before_at=not_before,
        not_before_mono=not_before_mono,
        not_before_boot=not_before_boot,
        created_at=created,
        started_at=started,
        finished_at=finished,
    )


def attempt_of(row: Row) -> AttemptState:
    """The attempt of a row of `Attempt`."""
    (
        id,
        job_id,
        number,
        worker,
        status,
        status_seq,
        released,
        canceling,
        revoking,
        exit_code,
        failure_reason,
        message,
        artifacts,
        dotenv,
        tests,
        coverage,
        log_length,
        assigned,
        started,
        finished,
        release,
        pages,
        inputs,
        reports,
    ) = row
    return AttemptState(
        id=id,
        job_id=job_id,
        number=number,
        worker=worker,
        status=ExecutionStatus(status),
        status_seq=status_seq,
        released=bool(released),
        canceling=bool(canceling),
        revoking=bool(revoking),
        exit_code=exit_code,
        failure_reason=_reason_of(failure_reason),
        message=message,
        artifacts=_load(list[ArtifactRef], artifacts),
        dotenv=_load(dict[str, str], dotenv),
        tests=None if tests is None else _load(JUnitSummary, tests),
        coverage=coverage,
        release=None if release is None else _load(Release, release),
        pages=None if pages is None else _load(Pages, pages),
        inputs=_load(dict[str, InputValue], inputs) if inputs else NO_INPUTS,
        log_length=log_length,
        assigned_at=assigned,
        started_at=started,
        finished_at=finished,
        reports=None if reports is None else _load(JobReports, reports),
    )


def worker_of(row: Row) -> WorkerState:
    """The worker of a row of `Worker`, offline."""
    name, labels, run_untagged, slots, draining, disk_low, last_seen, executor = row
    return WorkerState(
        name=name,
        labels=_load(list[str], labels),
        run_untagged=bool(run_untagged),
        slots=slots,
        draining=bool(draining),
        disk_low=bool(disk_low),
        last_seen_at=last_seen,
        executor=_load(ExecutorInfo, executor),
    )


def summary_of(row: Row, counts: dict[str, int], *, warnings: bool) -> RunSummary:
    """The summary of a row of `Run`. An invalid row must not keep the others from being listed."""
    id, _, name, project, source_json, status, _, created, started, finished, parent_json, _, _ = row
    try:
        source, status = _load(Source, source_json), ExecutionStatus(status)
        parent = _load(ParentJob, parent_json) if parent_json else None
    except ValueError:
        source, status, parent = Source(), ExecutionStatus.FAILED, None
    return RunSummary(
        id=id,
        name=name,
        status=status,
        project=project,
        ref=source.ref,
        sha=source.sha,
        title=source.title,
        warnings=warnings,
        counts=counts,
        created_at=created,
        started_at=started,
        finished_at=finished,
        parent=parent,
        trigger=source.trigger,
        event=source.event,
        fork=source.fork,
    )


def story_of(row: Row) -> StoryLine:
    """The line of a row of `StoryLine`."""
    _, _, job, attempt, at, text = row
    return StoryLine(at=at, job=job, attempt=attempt, text=text)
