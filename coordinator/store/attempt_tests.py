"""Reads the results of attempts' tests, newest jobs first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from coordinator.store.columns import load, text
from coordinator.store.models import AttemptTests, Job, Run
from protocol import views
from protocol.messages import Source

log = logging.getLogger(__name__)

JOBS_AT_ONCE = 64
ANSWER_BYTES = 4 << 20
"""Size of an answer's results from which on no further job is added."""
Row = tuple[Any, ...]


def newest_results(
    rows_of: Callable[[Any], Iterable[Row]],
    project: str | None = None,
    ref: str | None = None,
    job: str | None = None,
    before: int | None = None,
) -> tuple[list[views.AttemptTests], bool]:
    """The results of jobs with ids below `before`, each with all of its attempts, and whether there are older ones.

    `rows_of` executes a query.
    """
    which: list[Any] = [] if before is None else [Job.id < before]
    which += [] if project is None else [Run.project == text(project)]
    which += [] if ref is None else [Run.ref == text(ref)]
    which += [] if job is None else [Job.name == text(job)]
    jobs = AttemptTests.select(AttemptTests.job).join(Job).join(Run)
    if which:
        jobs = jobs.where(*which)
    jobs = jobs.group_by(AttemptTests.job).order_by(AttemptTests.job.desc()).limit(JOBS_AT_ONCE)
    newest = [id for (id,) in rows_of(jobs)]
    found: list[views.AttemptTests] = []
    size = 0
    for number, id in enumerate(newest, 1):
        for row in rows_of(_attempts(id)):
            size += len(row[-1])
            try:
                found.append(_view(row))
            except ValueError as error:
                log.warning("the tests of job %d are left out: a row of its run is invalid (%s)", id, error)
        if size >= ANSWER_BYTES:
            return found, number < len(newest) or len(newest) == JOBS_AT_ONCE
    return found, len(newest) == JOBS_AT_ONCE


def _attempts(job: int) -> Any:
    columns = (Run.id, Job.id, Job.name, AttemptTests.number, Run.project, Run.ref, Run.source_json, AttemptTests.files)
    query = AttemptTests.select(*columns, Run.created_at, AttemptTests.results).join(Job).join(Run)
    return query.where(AttemptTests.job == job).order_by(AttemptTests.number.desc())


def _view(row: Row) -> views.AttemptTests:
    run, job_id, job, number, project, ref, source, files, created_at, results = row
    return views.AttemptTests(
        run=run,
        job_id=job_id,
        job=job,
        attempt=number,
        project=project,
        ref=ref or "",
        sha=load(Source, source).sha,
        files=files,
        at=created_at,
        results=bytes(results),
    )
