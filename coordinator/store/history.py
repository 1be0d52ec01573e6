"""Looks for runs and jobs by project and ref, and for the runs above a run. Reads only.

Runs are searched from the newest on, by their primary key: a project that was run lately is found at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from peewee import fn

from coordinator.store.models import Attempt, Job, Run
from coordinator.store.rows import Row
from protocol.decoders import from_json
from protocol.statuses import ExecutionStatus
from protocol.views import ArtifactRef, ParentJob

MOST_NAMES = 5
"""Names that a list for messages has at most."""
NO_CHILD = Run.parent_json.is_null() | (
    Run.parent_json.contains('"project":') & ~Run.parent_json.contains('"project":""')
)
"""Selects runs that are no children: those of clients, and those that jobs of other projects have started."""


class FoundJob(msgspec.Struct, frozen=True):
    """What a successful job has left."""

    run: int
    run_ended: bool
    artifacts: list[ArtifactRef]
    dotenv: dict[str, str]


class RunAbove(msgspec.Struct, frozen=True):
    """A run, as the runs that it has led to see it. `is_child`: it belongs to the family of its parent."""

    id: int
    project: str
    ref: str
    is_child: bool
    is_downstream: bool


class History:
    """`rows` executes a query of the store. All methods raise peewee's errors, and ValueError for damaged rows."""

    def __init__(self, rows: Callable[[Any], list[Row]]) -> None:
        self._rows = rows

    def newest_run(self, project: str, ref: str | None = None) -> tuple[int, ExecutionStatus] | None:
        """The id and status of a project's newest run, at this ref if given; no child."""
        which = (Run.project == project) & NO_CHILD
        if ref is not None:
            which &= Run.ref == ref
        found = self._rows(Run.select(Run.id, Run.status).where(which).order_by(Run.id.desc()).limit(1))
        return (int(found[0][0]), ExecutionStatus(found[0][1])) if found else None

    def refs(self, project: str) -> list[str]:
        """A few refs that the project has runs of."""
        query = (
            Run.select(Run.ref).where((Run.project == project) & Run.ref.is_null(False)).distinct().limit(MOST_NAMES)
        )
        return sorted(ref for (ref,) in self._rows(query) if ref)

    def led_to(self, root: int) -> int:
        """The number of runs that a run has led to, directly and indirectly."""
        return int(self._rows(Run.select(fn.COUNT(Run.id)).where(Run.root == root))[0][0])

    def upwards(self, run: int) -> Iterator[RunAbove]:
        """The run, and those above it, as far as they are still there."""
        wanted: int | None = run
        while wanted is not None:
            found = self._rows(Run.select(Run.project, Run.ref, Run.parent_json).where(Run.id == wanted))
            if not found:
                return
            project, ref, text = found[0]
            parent = from_json(text, ParentJob) if text else None
            downstream = parent is not None and parent.project != ""
            yield RunAbove(wanted, project, ref or "", parent is not None and not downstream, downstream)
            wanted = parent.run if parent is not None else None

    def family(self, run: int) -> int:
        """The topmost run of the parents and children that a run belongs to."""
        top = run
        for above in self.upwards(run):
            top = above.id
            if not above.is_child:
                break
        return top

    def successful_job(self, project: str, ref: str, job: str) -> FoundJob | None:
        """The latest successful job of this name, in a run of the project at this ref."""
        return self._job((Run.project == project) & (Run.ref == ref), job)

    def job_of_run(self, run: int, job: str) -> FoundJob | None:
        """A run's successful job of this name."""
        return self._job(Run.id == run, job)

    def _job(self, which: Any, name: str) -> FoundJob | None:
        which &= (Job.name == name) & (Job.status == ExecutionStatus.SUCCESS.value)
        newest = Job.select(Job.id, Run.id, Run.finished_at).join(Run).where(which).order_by(Run.id.desc()).limit(1)
        found = self._rows(newest)
        if not found:
            return None
        job, run, finished_at = found[0]
        query = Attempt.select(Attempt.artifacts_json, Attempt.dotenv_json).where(Attempt.job == job)
        left = self._rows(query.order_by(Attempt.number.desc()).limit(1))
        artifacts, dotenv = left[0] if left else ("[]", "{}")
        return FoundJob(
            run, finished_at is not None, from_json(artifacts, list[ArtifactRef]), from_json(dotenv, dict[str, str])
        )
