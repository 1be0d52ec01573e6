"""Which runs go on without a user. Pure; for what the engine holds and for what clients see of it alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from protocol.statuses import UNFINISHED, ExecutionStatus

ACTIVE = UNFINISHED - {ExecutionStatus.CREATED, ExecutionStatus.MANUAL}
"""Statuses of jobs that a worker, a delay, a free slot or a child run moves on."""


class _Job(Protocol):
    @property
    def status(self) -> ExecutionStatus: ...
    @property
    def child_runs(self) -> Sequence[int]: ...


class _Stage(Protocol):
    @property
    def jobs(self) -> Sequence[_Job]: ...


class _Run(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def status(self) -> ExecutionStatus: ...
    @property
    def stages(self) -> Sequence[_Stage]: ...


R = TypeVar("R", bound=_Run)


def waits_for_user(run: int, statuses: Mapping[int, ExecutionStatus], jobs_of: Callable[[int], Iterable[_Job]]) -> bool:
    """Whether a run waits for a user: itself, or in the child runs that are all its jobs wait for.

    `statuses` are of runs by id; a run that is not among them waits for nobody. `jobs_of` is called only if needed.
    """
    if statuses.get(run) is ExecutionStatus.MANUAL:
        return True
    active = [job for job in jobs_of(run) if job.status in ACTIVE] if run in statuses else []
    children = [job.child_runs[-1] for job in active if job.status is ExecutionStatus.RUNNING and job.child_runs]
    return 0 < len(children) == len(active) and all(waits_for_user(child, statuses, jobs_of) for child in children)


def progressing(unfinished: Iterable[R]) -> list[R]:
    """Those of all unfinished runs that go on by themselves. The others wait for a user, perhaps in a child run."""
    runs = {run.id: run for run in unfinished}
    statuses = {run.id: run.status for run in runs.values()}
    return [run for run in runs.values() if not waits_for_user(run.id, statuses, lambda id: jobs_of(runs[id]))]


def jobs_of(run: _Run) -> list[_Job]:
    """A run's jobs, stage by stage."""
    return [job for stage in run.stages for job in stage.jobs]
