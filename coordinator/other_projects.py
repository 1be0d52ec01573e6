"""What a coordinator knows of other pipelines and projects: by the runs that it has had of them.

Answers are read from the store, in the loop: only what is committed counts.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from coordinator.engine.effects import LookUp
from coordinator.engine.origins import fact, origin_of
from coordinator.engine.state import RunState
from coordinator.engine.upstreams import LatestRun
from coordinator.files.base import Blobs
from coordinator.store.base import RunStore
from coordinator.store.history import FoundJob, History
from protocol.errors import LongshoreError
from protocol.messages import Dependency, Origin
from protocol.plan import ExternalNeed
from protocol.statuses import ExecutionStatus, FailureReason

LARGEST_HIERARCHY = 1000
"""Runs that one run may lead to, as in GitLab."""
MOST_VISITS = 2
"""How often a project's ref may be above a pipeline that is to be started; as in GitLab, more is a loop."""


class Refused(LongshoreError):
    """A run that can't be started. `reason` is the failure of the job that would start it."""

    def __init__(self, message: str, reason: FailureReason) -> None:
        super().__init__(message)
        self.reason = reason


class Projects(Protocol):
    """Where pipelines of other projects come from."""

    def find(self, project: str, branch: str) -> Origin:
        """What a pipeline of the project's branch is made of; by default that of its default branch. Its blobs stay
        until a run refers to them. Raises Refused.
        """


class KnownProjects:
    """Projects that the coordinator has had runs of: their pipelines are made of what the newest run has."""

    def __init__(self, store: RunStore, history: History, blobs: Blobs) -> None:
        self._store = store
        self._history = history
        self._blobs = blobs

    def find(self, project: str, branch: str) -> Origin:
        """See Projects."""
        newest = self._newest(project)
        wanted = branch or fact(newest, "CI_DEFAULT_BRANCH")
        found = self._history.newest_run(project, wanted)
        run = None if found is None else self._store.load_run(found[0])
        if run is None:
            refs = ", ".join(self._history.refs(project)) or "none"
            raise _not_found(project, f"this coordinator has no run of its branch {wanted!r}, but of: {refs}")
        for blob in run.workspace.blobs if run.workspace else ():
            if self._blobs.claim(blob.digest) is None:
                raise _not_found(project, f"the files of its newest run, {run.id}, are gone")
        return origin_of(run)

    def latest(self, project: str) -> LatestRun | None:
        """The latest run of a project's default branch."""
        try:
            newest = self._newest(project)
        except Refused:
            return None
        found = self._history.newest_run(project, fact(newest, "CI_DEFAULT_BRANCH"))
        return LatestRun(found[0], project, found[1]) if found is not None else None

    def _newest(self, project: str) -> RunState:
        found = self._history.newest_run(project)
        run = None if found is None else self._store.load_run(found[0])
        if run is None:
            raise _not_found(project, "this coordinator has had no run of it")
        return run


def _not_found(project: str, why: str) -> Refused:
    text = f"project {project} is not known here: {why}; run its pipeline here first, or give --project {project}=DIR"
    return Refused(text, FailureReason.DOWNSTREAM_BRIDGE_PROJECT_NOT_FOUND)


def check_hierarchy(run: RunState, history: History, *, other_project: bool) -> None:
    """Checks that a run may start another one: that it is none of too many, and no loop. Raises Refused."""
    root = run.parent.root if run.parent is not None else run.id
    if history.led_to(root) >= LARGEST_HIERARCHY:
        text = f"run {root} has led to {LARGEST_HIERARCHY} runs, the maximum"
        raise Refused(text, FailureReason.REACHED_MAX_PIPELINE_HIERARCHY_SIZE)
    if not other_project:
        return
    above = [each for each in history.upwards(run.id) if not each.is_child]
    visits = Counter((each.project, each.ref, each.is_downstream) for each in above)
    if max(visits.values(), default=0) > MOST_VISITS:
        way = " -> ".join(each.project for each in reversed(above))
        text = f"projects start pipelines of each other in a loop: {way}"
        raise Refused(text, FailureReason.PIPELINE_LOOP_DETECTED)


class Artifacts:
    """Finds the artifacts that jobs need of other pipelines."""

    def __init__(self, history: History, blobs: Blobs) -> None:
        self._history = history
        self._blobs = blobs

    def find(self, wanted: LookUp, at: float) -> list[Dependency]:
        """All that a job needs, at wall time `at`; protected until the job refers to it. Raises LongshoreError."""
        found = []
        for need in wanted.needs:
            if need.project and need.pipeline:
                name, job = self._of_chosen_run(need)
            else:
                name, job = self._of_project(need) if need.project else self._of_run(need, wanted.run)
            self._check(name, job, at)
            found.append(
                Dependency(
                    job=name,
                    status=ExecutionStatus.SUCCESS,
                    satisfied=True,
                    artifacts=job.artifacts,
                    variables=job.dotenv,
                )
            )
        return found

    def _of_project(self, need: ExternalNeed) -> tuple[str, FoundJob]:
        name = f"{need.project}:{need.job}@{need.ref}"
        found = self._history.successful_job(need.project, need.ref, need.job)
        if found is not None:
            return name, found
        refs = self._history.refs(need.project)
        if not refs:
            why = f"this coordinator has had no run of {need.project}; run its pipeline here first"
        elif need.ref not in refs and self._history.newest_run(need.project, need.ref) is None:
            why = f"this coordinator has no run of that ref, but of: {', '.join(refs)}"
        else:
            why = "no run there has such a job that succeeded"
        raise LongshoreError(f"needs the artifacts of job {need.job!r} of {need.project} at {need.ref!r}: {why}")

    def _of_chosen_run(self, need: ExternalNeed) -> tuple[str, FoundJob]:
        found = self._history.job_of_run(int(need.pipeline), need.job) if need.pipeline.isdecimal() else None
        if found is None:
            raise LongshoreError(
                f"reuses job {need.job!r} of run {need.pipeline}, which has no such job that succeeded"
            )
        return f"run {need.pipeline}:{need.job}", found

    def _of_run(self, need: ExternalNeed, run: int) -> tuple[str, FoundJob]:
        what = f"needs the artifacts of job {need.job!r} of pipeline {need.pipeline!r}"
        if not need.pipeline.isdecimal():
            raise LongshoreError(f"{what}: that is no run; pass the parent's $CI_PIPELINE_ID in a variable")
        if int(need.pipeline) == run:
            raise LongshoreError(f"{what}, its own: name the job alone under `needs`")
        if self._history.family(int(need.pipeline)) != self._history.family(run):
            raise LongshoreError(f"{what}: run {need.pipeline} is neither a parent of this run nor another child of it")
        found = self._history.job_of_run(int(need.pipeline), need.job)
        if found is None:
            raise LongshoreError(f"{what}: run {need.pipeline} has no such job that has succeeded yet")
        return f"run {need.pipeline}:{need.job}", found

    def _check(self, name: str, job: FoundJob, at: float) -> None:
        for ref in job.artifacts:
            expired = job.run_ended and ref.expires_at is not None and ref.expires_at <= at
            if expired or self._blobs.claim(ref.digest) is None:
                raise LongshoreError(f"the artifacts of {name} (run {job.run}) have expired: run that job again")
