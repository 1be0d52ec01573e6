"""Builders of views, for tests that need no coordinator."""

from __future__ import annotations

from protocol.statuses import ExecutionStatus, WorkerStatus
from protocol.views import JobView, RunSummary, RunView, StageView, WorkerView

S = ExecutionStatus
SECTION_LOG = (
    b"before\n"
    b"\x1b[0Ksection_start:100:outer\r\x1b[0KOuter header\n"
    b"one\n"
    b"\x1b[0Ksection_start:101:inner[collapsed=true]\r\x1b[0KInner header\n"
    b"two\n"
    b"\x1b[0Ksection_end:103:inner\r\x1b[0K\n"
    b"three\n"
    b"\x1b[0Ksection_end:110:outer\r\x1b[0K\n"
    b"after\n"
)
"""A log with a section in a section; the inner one is folded at first."""


def job_view(name: str, status: ExecutionStatus = S.CREATED, *needs: str, **fields: object) -> JobView:
    """A job; one that names no `needs` waits for its stage, unless `by_stage` says otherwise."""
    fields.setdefault("by_stage", not needs)
    return JobView(id=1, name=name, status=status, needs=list(needs), **fields)  # type: ignore[arg-type]


def stage_view(name: str, *jobs: JobView, status: ExecutionStatus = S.RUNNING) -> StageView:
    """A stage."""
    return StageView(name=name, status=status, jobs=list(jobs))


def run_summary(number: int, status: ExecutionStatus = S.RUNNING, **fields: object) -> RunSummary:
    """A line of the list of runs."""
    return RunSummary(id=number, name=f"run {number}", status=status, **fields)  # type: ignore[arg-type]


def run_view(number: int, *stages: StageView, status: ExecutionStatus = S.RUNNING) -> RunView:
    """A whole run."""
    return RunView(id=number, name=f"run {number}", status=status, stages=list(stages))


def worker_view(name: str, status: WorkerStatus = WorkerStatus.ONLINE) -> WorkerView:
    """A worker."""
    return WorkerView(name=name, status=status, slots=2)


def jobs_of_run(run: RunView) -> list[JobView]:
    """A run's jobs, stage by stage."""
    return [job for stage in run.stages for job in stage.jobs]
