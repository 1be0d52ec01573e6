"""Selects the jobs that a worker prepares and runs, by its slots and its places ahead of them. Pure.

A running job takes a slot. Up to `ahead` more are prepared while they wait for a slot or for their dependencies. Jobs
with unsatisfied dependencies never take a place that a runnable job needs, so no job waits here for one queued behind
it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from daemon.attempts.attempt import OVER, TAKES_SLOT, Attempt, Phase
from daemon.executors.base import Slot


def to_admit(jobs: Iterable[Attempt], slots: int, ahead: int, threads: int) -> list[Attempt]:
    """Queued jobs to prepare now: runnable ones first, oldest first. `threads` bounds all jobs with a runner."""
    runnable = waiting = over = 0
    queue: list[Attempt] = []
    for job in jobs:
        if job.phase is Phase.QUEUED:
            if job.stop is None:
                queue.append(job)
        elif job.phase in OVER:
            over += 1
        elif job.runnable:
            runnable += 1
        else:
            waiting += 1
    admitted = []
    for job in sorted(queue, key=lambda job: not job.runnable):
        if runnable + waiting + over >= threads:
            break
        if job.runnable and runnable + waiting < slots + ahead:
            runnable += 1
            admitted.append(job)
        elif not job.runnable and waiting < ahead and runnable + waiting < slots + ahead:
            waiting += 1
            admitted.append(job)
    return admitted


def to_open(jobs: Iterable[Attempt], slots: int) -> list[Attempt]:
    """Prepared jobs whose gate opens now, one per free slot, in the order in which they became runnable."""
    free = slots
    ready = []
    for job in jobs:
        if job.phase in TAKES_SLOT:
            free -= 1
        elif job.phase is Phase.READY and job.stop is None and job.runnable:
            ready.append(job)
    ready.sort(key=lambda job: job.runnable_at or 0.0)
    return ready[: max(0, free)]


def free_slot(project: str, jobs: Iterable[Attempt], found: Iterable[Slot]) -> Slot:
    """The lowest free numbers for a job of this project. `found` are those of running jobs whose project is unknown."""
    numbers, of_project = {slot.number for slot in found}, {slot.of_project for slot in found}
    for job in jobs:
        if job.slot is not None and job.phase in TAKES_SLOT:
            numbers.add(job.slot.number)
            if job.assignment.project == project:
                of_project.add(job.slot.of_project)
    return Slot(_lowest(numbers), _lowest(of_project))


def _lowest(taken: Collection[int]) -> int:
    return next(number for number in itertools.count() if number not in taken)
