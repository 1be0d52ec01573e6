"""Estimates the remaining time of a run from earlier runs of the same jobs. Pure.

A job's end is the latest end of its needs plus its own duration: actual if it has ended, else the earlier one. The
chain of jobs that ends last is the critical path. Slots are ignored; with few slots a run takes longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunView
from tui.presentation.formatting import elapsed

BARRIER = "\0stage "
LEAST_GUESS = 0.0
"""Estimate in seconds for a job never seen before."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`critical`: the jobs of the path that ends last. `remaining`: seconds; None if too little is known."""

    critical: frozenset[str]
    remaining: float | None


def expected_durations(earlier: Iterable[RunView]) -> dict[str, float]:
    """Median seconds of each job's successful earlier runs, by job name."""
    taken: dict[str, list[float]] = {}
    for run in earlier:
        for stage in run.stages:
            for job in stage.jobs:
                if job.status is ExecutionStatus.SUCCESS and job.started_at and job.finished_at:
                    taken.setdefault(job.name, []).append(job.finished_at - job.started_at)
    return {name: median(times) for name, times in taken.items()}


def predecessors(stages: list[list[JobView]]) -> dict[str, list[str]]:
    """Each job's dependencies: its needs, or the *barrier* after the previous stage.

    A barrier is an entry of its own (see `is_barrier`) that depends on all jobs of a stage and the earlier ones, so
    that two stages of a thousand jobs each need two thousand edges instead of a million.
    """
    before: dict[str, list[str]] = {}
    barrier: str | None = None
    for index, jobs in enumerate(stages):
        for job in jobs:
            before[job.name] = ([barrier] if barrier is not None else []) if job.by_stage else list(job.needs)
        after = f"{BARRIER}{index}"
        before[after] = [job.name for job in jobs]
        if barrier is not None and not any(job.by_stage for job in jobs):
            before[after].append(barrier)
        barrier = after
    return before


def is_barrier(name: str) -> bool:
    """Whether a name of `predecessors` is the end of a stage instead of a job."""
    return name.startswith(BARRIER)


def estimate(stages: list[list[JobView]], expected: dict[str, float], now: float) -> Estimate:
    """The critical path of a run, and its remaining time."""
    jobs = {job.name: job for stage in stages for job in stage}
    before = predecessors(stages)
    lengths: dict[str, float] = {}
    rests: dict[str, float] = {}
    latest: dict[str, str | None] = {}
    for name in in_order(before):
        needed = [need for need in before[name] if need in lengths]
        latest[name] = max(needed, key=lengths.__getitem__, default=None)
        spent, left = _times(jobs[name], expected, now) if name in jobs else (0.0, 0.0)
        lengths[name] = max((lengths[need] for need in needed), default=0.0) + spent + left
        rests[name] = max((rests[need] for need in needed), default=0.0) + left
    path: set[str] = set()
    last = max(lengths, key=lengths.__getitem__, default=None)
    while last is not None and lengths[last] > 0:
        if not is_barrier(last):
            path.add(last)
        last = latest[last]
    unfinished = [job for job in jobs.values() if job.status not in ENDED]
    known = any(job.name in expected for job in unfinished)
    return Estimate(frozenset(path), max(rests.values(), default=0.0) if known else None)


def _times(job: JobView, expected: dict[str, float], now: float) -> tuple[float, float]:
    """A job's elapsed seconds, and its estimated remaining ones."""
    spent = elapsed(job.started_at, job.finished_at, now) or 0.0
    if job.status in ENDED or job.status is ExecutionStatus.MANUAL:
        return spent, 0.0
    return spent, max(0.0, expected.get(job.name, LEAST_GUESS) - spent)


def in_order(before: Mapping[str, Sequence[str]]) -> list[str]:
    """Job names in topological order; jobs in a cycle (a plan has none) come last."""
    order: list[str] = []
    missing = {name: {need for need in needs if need in before} for name, needs in before.items()}
    waiting_for: dict[str, list[str]] = {}
    for name, needs in missing.items():
        for need in needs:
            waiting_for.setdefault(need, []).append(name)
    ready = [name for name, needs in missing.items() if not needs]
    while ready:
        name = ready.pop()
        order.append(name)
        for follower in waiting_for.get(name, ()):
            missing[follower].discard(name)
            if not missing[follower]:
                ready.append(follower)
    seen = set(order)
    return order + [name for name in before if name not in seen]
