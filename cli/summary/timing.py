"""Where the time of a run went: its slowest jobs, and the chain of jobs that its duration is made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from protocol.views import JobView, RunView

MOST_SLOWEST = 5


@dataclass(frozen=True, slots=True)
class TimedJob:
    """A job with its duration; `waited` is the time between the end of the job before it (or its run's start) and its
    own start. Both in seconds.
    """

    run: int
    job: str
    seconds: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """`slowest` jobs first; `critical_path` in order of time."""

    slowest: list[TimedJob]
    critical_path: list[TimedJob]


def timing(run: RunView, children: Mapping[int, RunView]) -> Timing:
    """The timing of a run. Its slowest jobs may be of `children`, the runs that its jobs have started."""
    jobs = [
        TimedJob(each.id, job.name, finished - started)
        for each in (run, *children.values())
        for job, started, finished in _timed(each)
        if not any(child in children for child in job.child_runs)  # its time is that of its child's jobs
    ]
    slowest = sorted(jobs, key=lambda job: job.seconds, reverse=True)[:MOST_SLOWEST]
    return Timing(slowest, list(reversed(list(_path(run)))))


def _timed(run: RunView) -> Iterator[tuple[JobView, float, float]]:
    """The jobs that have run, with start and end."""
    for stage in run.stages:
        for job in stage.jobs:
            if job.started_at is not None and job.finished_at is not None:
                yield job, job.started_at, max(job.started_at, job.finished_at)


def _path(run: RunView) -> Iterator[TimedJob]:
    """The jobs from the last one to end back to the first: before each, the one of those it waited for that ended last.

    The clocks of several workers may differ a little, so a job may seem to start before the end of one that it needs.
    """
    times = {job.name: (job, started, finished) for job, started, finished in _timed(run)}
    earlier: dict[str, list[str]] = {}
    before: list[str] = []
    for stage in run.stages:
        for job in stage.jobs:
            earlier[job.name] = list(before) if job.by_stage else list(job.needs)
        before += [job.name for job in stage.jobs]
    name = _last_to_end(times, times)
    seen: set[str] = set()
    while name is not None and name not in seen:
        seen.add(name)
        _, started, finished = times[name]
        previous = _last_to_end(times, earlier[name])
        since = times[previous][2] if previous is not None else run.started_at
        yield TimedJob(run.id, name, finished - started, 0.0 if since is None else max(0.0, started - since))
        name = previous


def _last_to_end(times: Mapping[str, tuple[JobView, float, float]], names: Iterable[str]) -> str | None:
    known = [name for name in names if name in times]
    return max(known, key=lambda name: times[name][2], default=None)
