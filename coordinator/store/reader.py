"""A second, read-only connection to a coordinator's database, for housekeeping beside the loop.

Takes none of the coordinator's locks, and sees committed data only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from peewee import fn

from coordinator.engine.state import External
from coordinator.store.database import connect, open_database
from coordinator.store.models import Attempt, Environment, Job, OwnWorkspace, Run, RunProjects, RunWorkspace
from coordinator.store.rows import projects_of, workspace_of
from protocol.decoders import from_json
from protocol.statuses import ENDED, EnvironmentStatus
from protocol.views import ArtifactRef, ParentJob
from protocol.workspace import Pack

log = logging.getLogger(__name__)

ENDED_WORDS = [status.value for status in ENDED]
ROWS_AT_ONCE = 500
WORKSPACES_AT_ONCE = 50
"""A workspace of a repository with many tags has megabytes."""


def _artifacts(attempt: str, text: str) -> list[ArtifactRef]:
    try:
        return from_json(text, list[ArtifactRef])
    except ValueError as error:
        log.warning("the artifacts of attempt %s are not kept: its row in the database is invalid (%s)", attempt, error)
        return []


def _given(job: int, text: str) -> list[ArtifactRef]:
    try:
        return [ref for source in from_json(text, External).sources for ref in source.artifacts]
    except ValueError as error:
        log.warning("what job %d needs is not kept: its row in the database is invalid (%s)", job, error)
        return []


def _brought_along(run: int, text: str) -> list[tuple[str, Pack]]:
    try:
        found = [(origin.project, origin.workspace) for origin in projects_of(text)]
    except ValueError as error:
        log.warning("the projects of run %d are not kept: its row in the database is invalid (%s)", run, error)
        return []
    return [(project, blob) for project, workspace in found if workspace is not None for blob in workspace.blobs]


def _blobs(run: int, text: str) -> list[Pack]:
    try:
        return workspace_of(text).blobs
    except ValueError as error:
        log.warning("the workspace of run %d is not kept: its row in the database is invalid (%s)", run, error)
        return []


class Reader:
    """A context manager; open within `with`. Raises peewee's errors."""

    def __init__(self, url: str) -> None:
        self._database = open_database(url)

    def __enter__(self) -> Reader:
        connect(self._database)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def _rows(self, query: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._database.execute(query).fetchall()
        return found

    def finished_runs(self, *, before: float, limit: int | None = None) -> list[int]:
        """Runs that ended before `before` (seconds since the epoch), oldest first; never the newest one.

        The newest run and its jobs have the highest ids, from which new ones continue. A run with a job that is to stop
        an environment stays. Runs that started each other go together, when the last of them may: then `limit` may be
        exceeded by the rest of such a family.
        """
        newest = self._rows(Run.select(fn.MAX(Run.id)))[0][0]
        which = Run.status.in_(ENDED_WORDS) & (Run.finished_at < before) & (Run.id < newest)
        stops = self._runs_that_stop()
        old = [id for (id,) in self._rows(Run.select(Run.id).where(which).order_by(Run.id)) if id not in stops]
        roots = self._roots()
        if not roots:
            return old[:limit]
        removable = set(old)
        others = {id for (id,) in self._rows(Run.select(Run.id))} - removable
        kept = {roots.get(id, id) for id in others}
        goes = sorted((roots.get(id, id), id) for id in old if roots.get(id, id) not in kept)
        last = goes[min(limit, len(goes)) - 1][0] if limit and goes else None
        return [id for number, (root, id) in enumerate(goes) if limit is None or number < limit or root == last]

    def _runs_that_stop(self) -> set[int]:
        """The runs whose jobs stop an environment that is not stopped yet."""
        deployed = Environment.status != EnvironmentStatus.STOPPED.value
        query = Environment.select(Environment.run).where(deployed & (Environment.stop_jobs_json != "[]"))
        return {id for (id,) in self._rows(query)}

    def _roots(self) -> dict[int, int]:
        """The topmost parent above each child run, as far as the runs between them are still there.

        A run that another project has started is no child: it goes when its own time has come.
        """
        rows = self._rows(Run.select(Run.id, Run.parent_json).where(Run.parent_json.is_null(False)).order_by(Run.id))
        roots: dict[int, int] = {}
        for id, text in rows:  # a parent has a lower id than its children
            try:
                parent = from_json(text, ParentJob)
            except ValueError as error:
                log.warning("the parent of run %d is ignored: its row in the database is invalid (%s)", id, error)
                continue
            if not parent.project:
                roots[id] = roots.get(parent.run, parent.run)
        return roots

    def known_jobs(self, first: int, last: int) -> set[int]:
        """The ids of existing jobs from `first` to `last`."""
        return {id for (id,) in self._rows(Job.select(Job.id).where(Job.id.between(first, last)))}

    def needed_blobs(self, now: float, artifacts_before: float | None) -> dict[str, str]:
        """Digests of workspaces and unexpired artifacts, each with the project of the first run that refers to it.

        Artifacts of unfinished runs never expire; those of an attempt that ended before `artifacts_before` have.
        """
        needed: dict[str, str] = {}
        for digest, project in self._workspace_blobs():
            needed.setdefault(digest, project)
        for digest, project in self._own_workspace_blobs():
            needed.setdefault(digest, project)
        for digest, project in self._artifact_blobs(now, artifacts_before):
            needed.setdefault(digest, project)
        for digest, project in self._found_blobs():
            needed.setdefault(digest, project)
        return needed

    def _workspace_blobs(self) -> Iterator[tuple[str, str]]:
        """The digests of all workspaces, each with its run's project, oldest run first; then those that runs have
        brought along.
        """
        after = 0
        while True:
            query = (
                RunWorkspace.select(RunWorkspace.run, RunWorkspace.workspace_json, Run.project)
                .join(Run)
                .where(RunWorkspace.run > after)
                .order_by(RunWorkspace.run)
                .limit(WORKSPACES_AT_ONCE)
            )
            found = self._rows(query)
            for run, text, project in found:
                after = run
                for blob in _blobs(run, text):
                    yield blob.digest, project
            if len(found) < WORKSPACES_AT_ONCE:
                break
        for run, text in self._rows(RunProjects.select(RunProjects.run, RunProjects.projects_json)):
            for project, blob in _brought_along(run, text):
                yield blob.digest, project

    def _own_workspace_blobs(self) -> Iterator[tuple[str, str]]:
        """The digests of workspaces that jobs have in place of their runs'."""
        columns = (OwnWorkspace.workspace_json, Job.run, Run.project)
        given = OwnWorkspace.workspace_json.is_null(False)
        for text, run, project in self._rows(OwnWorkspace.select(*columns).join(Job).join(Run).where(given)):
            for blob in _blobs(run, text):
                yield blob.digest, project

    def _found_blobs(self) -> Iterator[tuple[str, str]]:
        """The digests of artifacts that jobs of unfinished runs have been given of other pipelines."""
        unfinished = Run.status.not_in(ENDED_WORDS) & Job.external_json.is_null(False)
        for job, text, project in self._rows(
            Job.select(Job.id, Job.external_json, Run.project).join(Run).where(unfinished)
        ):
            for ref in _given(job, text):
                yield ref.digest, project

    def _artifact_blobs(self, now: float, artifacts_before: float | None) -> Iterator[tuple[str, str]]:
        """The digests of unexpired artifacts, each with its run's project."""
        after = ""
        while True:
            query = (
                Attempt.select(Attempt.id, Attempt.artifacts_json, Attempt.finished_at, Run.status, Run.project)
                .join(Job)
                .join(Run)
                .where((Attempt.artifacts_json != "[]") & (Attempt.id > after))
                .order_by(Attempt.id)
                .limit(ROWS_AT_ONCE)
            )
            found = self._rows(query)
            for id, artifacts, finished_at, status, project in found:
                after = id
                ended = status in ENDED_WORDS
                old = ended and artifacts_before is not None and (finished_at or now) < artifacts_before
                for ref in _artifacts(id, artifacts):
                    expired = old or (ended and ref.expires_at is not None and ref.expires_at < now)
                    if not expired:
                        yield ref.digest, project
            if len(found) < ROWS_AT_ONCE:
                return
