"""Which runs go on without a user. Pure; for what the engine holds and for what clients see of it alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from protocol.statuses import ENDED, ExecutionStatus

HELD = ENDED | {ExecutionStatus.CREATED, ExecutionStatus.MANUAL}
"""Statuses of jobs that do nothing by themselves."""


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


def progressing(unfinished: Iterable[R]) -> list[R]:
    """Those of all unfinished runs that go on by themselves. The others wait for a user, perhaps in a child run."""
    runs = {run.id: run for run in unfinished}

    def waits(run: _Run) -> bool:
        if run.status is ExecutionStatus.MANUAL:
            return True
        active = [job for stage in run.stages for job in stage.jobs if job.status not in HELD]
        children = [runs.get(job.child_runs[-1]) if job.child_runs else None for job in active]
        return bool(children) and all(child is not None and waits(child) for child in children)

    return [run for run in runs.values() if not waits(run)]
