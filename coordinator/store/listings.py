"""Lists for readers: runs, releases, workspaces. An unreadable row of a list is left out."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

from peewee import fn

from coordinator.store import environment_rows, rows
from coordinator.store.models import Attempt, Job, Run, RunWorkspace
from coordinator.store.run_filter import conditions
from protocol import views
from protocol.messages import RunFilter
from protocol.statuses import ExecutionStatus
from protocol.workspace import GitWorkspace

STATUSES = {status.value for status in ExecutionStatus}
GIT_WORKSPACE = '{"form":"git"'
"""Prefix of a git workspace's JSON."""


def list_runs(
    query: rows.Query, limit: int, before: int | None = None, only: RunFilter | None = None
) -> list[views.RunSummary]:
    """Runs, newest first, with ids below `before` if given; with `only`, those that it selects."""
    chosen = Run.select().order_by(Run.id.desc()).limit(limit)
    which = [] if only is None else conditions(only)
    if before is not None:
        which.append(Run.id < before)
    if which:
        chosen = chosen.where(*which)
    found = query(chosen)
    if not found:
        return []
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    warned = set()
    per_status = (
        Job.select(Job.run, Job.status, Job.allowed_to_fail, fn.COUNT(Job.id))
        .where(Job.run.in_([row[0] for row in found]))
        .group_by(Job.run, Job.status, Job.allowed_to_fail)
    )
    for run, status, allowed_to_fail, number in query(per_status):
        if status in STATUSES:
            counts[run][status] = counts[run].get(status, 0) + number
        if allowed_to_fail and status == ExecutionStatus.FAILED.value:
            warned.add(run)
    return [rows.summary_of(row, counts[row[0]], warnings=row[0] in warned) for row in found]


def list_releases(query: rows.Query, project: str | None, limit: int) -> list[views.ReleaseView]:
    """The releases of all runs, or of those of a project, newest first."""
    wanted = Attempt.release_json.is_null(False)
    if project is not None:
        wanted &= Run.project == project
    columns = (Run.id, Job.name, Run.project, Attempt.finished_at, Attempt.release_json)
    found = query(
        Attempt.select(*columns).join(Job).join(Run).where(wanted).order_by(Attempt.finished_at.desc()).limit(limit)
    )
    releases = []
    for row in found:
        with suppress(ValueError):  # a damaged row: skip it
            releases.append(environment_rows.release_of(row))
    return releases


def git_workspaces(query: rows.Query, project: str, limit: int) -> list[GitWorkspace]:
    """The newest git workspaces of a project's runs, newest first, without repetitions."""
    wanted = (Run.project == project) & RunWorkspace.workspace_json.startswith(GIT_WORKSPACE)
    chosen = RunWorkspace.select(RunWorkspace.workspace_json).join(Run).where(wanted)
    found: dict[str, GitWorkspace] = {}
    for (text,) in query(chosen.order_by(RunWorkspace.run.desc()).limit(limit)):
        with suppress(ValueError):  # a damaged row: skip it
            workspace = rows.workspace_of(text)
            if isinstance(workspace, GitWorkspace):
                found.setdefault(workspace.snapshot, workspace)
    return list(found.values())
