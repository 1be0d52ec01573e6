"""Which runs a list of runs is about, as conditions of a query."""

from __future__ import annotations

from typing import Any

from peewee import fn

from coordinator.store.columns import text
from coordinator.store.models import Job, Run
from protocol.messages import RunFilter


def conditions(only: RunFilter) -> list[Any]:
    """The conditions that a row of `Run` must meet; none for all runs."""
    found: list[Any] = []
    if only.statuses:
        found.append(Run.status.in_([status.value for status in only.statuses]))
    if only.ref is not None:
        found.append(Run.ref == text(only.ref))
    if only.project is not None:
        found.append(Run.project == text(only.project))
    if only.job is not None:
        # looked up run by run, newest first, until the limit is reached: a job's name may be in every run
        named = Job.select(Job.id).where((Job.run == Run.id) & (Job.name == text(only.job)))
        found.append(fn.EXISTS(named))
    return found
