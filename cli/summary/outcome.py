"""What went wrong in a run, and what took long: collected from the coordinator at the run's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from cli.render.phrases import failed_tests
from cli.summary.excerpt import Excerpt, excerpt
from cli.summary.timing import Timing, timing
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.names import CHUNK_BYTES
from protocol.reports import FailedTest
from protocol.statuses import ExecutionStatus
from protocol.views import JobView, RunView

MOST_FAILURES = 10
"""Limit of failed jobs whose log is looked at; further ones are only counted."""
LOG_BYTES = CHUNK_BYTES
"""Bytes of the end of a log that are looked at."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed job. `log_bytes` is the size of its whole log; 0: it has none. `coordinator` is the address that the
    user has named, and would have to name again.
    """

    run: int
    stage: str
    job: JobView
    excerpt: Excerpt
    tests: list[FailedTest]
    log_bytes: int = 0
    coordinator: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`failures` that count come before allowed ones; `further` is the number of those left out."""

    failures: list[Failure]
    further: int
    timing: Timing


def outcome(
    client: Callable[[], Client],
    run: RunView,
    children: Mapping[int, RunView],
    reconnect: Callable[[], None],
    coordinator: str | None = None,
) -> Outcome:
    """The outcome of a run and of `children`, the runs that its jobs have started. `coordinator` as in `Failure`.

    `reconnect` waits for a coordinator that has gone away; if it raises CoordinatorUnreachable, logs and messages of
    tests are left out.
    """
    failed = sorted(_failed(run, children), key=lambda found: found[2].allow_failure)
    looking = True
    failures: list[Failure] = []
    for id, stage, job in failed[:MOST_FAILURES]:
        failure = None
        while looking and failure is None:
            try:
                failure = _look_into(client(), id, stage, job)
            except CoordinatorUnreachable:
                try:
                    reconnect()
                except CoordinatorUnreachable:
                    looking = False
        failure = failure or Failure(id, stage, job, Excerpt(), failed_tests(job, None))
        failures.append(replace(failure, coordinator=coordinator))
    return Outcome(failures, len(failed) - len(failures), timing(run, children))


def _failed(run: RunView, children: Mapping[int, RunView]) -> Iterator[tuple[int, str, JobView]]:
    """The failed jobs, but for those that have failed with a child run in which jobs have."""
    for each in (run, *children.values()):
        for stage in each.stages:
            for job in stage.jobs:
                child = children.get(job.child_runs[-1]) if job.child_runs else None
                told_below = child is not None and any(_failed(child, {}))
                if job.status is ExecutionStatus.FAILED and not told_below:
                    yield each.id, stage.name, job


def _look_into(client: Client, run: int, stage: str, job: JobView) -> Failure:
    try:
        detail = client.get_job(run, job.name)
        found, log = client.get_log(run, job.name, job.attempt or None, offset=-LOG_BYTES, length=LOG_BYTES)
    except UsageError:  # retention has removed the run
        return Failure(run, stage, job, Excerpt(), failed_tests(job, None))
    return Failure(run, stage, job, excerpt(log, detail.job.after_script), failed_tests(job, detail), found.size)
