"""Projects and triggers as rows, text and JSON. Fields of the documents may be added, never changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cli.render.json_views import rfc3339
from cli.render.phrases import duration
from protocol.messages import ProjectDetail
from protocol.projects import ProjectSpec, ProjectView, TriggerView

SHORT_SHA = 8


def project_rows(projects: Iterable[ProjectView], *, for_people: bool) -> list[dict[str, Any]]:
    """One row per project, in their order."""
    return [_row(view) if for_people else project_document(view) for view in projects]


def _row(view: ProjectView) -> dict[str, Any]:
    project = view.project
    return {
        "name": project.name,
        "state": "paused" if view.paused else "active",
        "url": project.url,
        "poll": "" if project.poll_seconds is None else duration(project.poll_seconds),
        "forge": project.forge.kind if project.forge else "",
    }


def project_document(view: ProjectView) -> dict[str, Any]:
    """A project's settings as JSON."""
    project = view.project
    forge = project.forge and {
        "kind": project.forge.kind,
        "api": project.forge.api or None,
        "token": project.forge.token or None,
        "per_job": project.forge.per_job,
    }
    return {
        "name": project.name,
        "url": project.url or None,
        "paused": view.paused,
        "default_branch": project.default_branch or None,
        "poll_seconds": project.poll_seconds,
        "credentials": project.credentials or None,
        "hook_secret": view.has_hook_secret,
        "protected_branches": project.protected_branches,
        "protected_tags": project.protected_tags,
        "forge": forge,
        "created_at": rfc3339(view.created_at),
        "created_by": view.created_by,
    }


def project_json(detail: ProjectDetail) -> dict[str, Any]:
    """A project with its newest triggers as JSON."""
    return project_document(detail.project) | {"triggers": [trigger_json(trigger) for trigger in detail.triggers]}


def trigger_json(trigger: TriggerView) -> dict[str, Any]:
    """One trigger as JSON."""
    return {
        "id": trigger.id,
        "project": trigger.project,
        "source": trigger.source,
        "state": trigger.state,
        "ref": trigger.ref or None,
        "tag": trigger.tag,
        "sha": trigger.sha or None,
        "title": trigger.title,
        "author": trigger.author,
        "user": trigger.user,
        "merge_request": trigger.merge_request or None,
        "from_fork": trigger.from_fork,
        "run": trigger.run,
        "reason": trigger.reason or None,
        "created_at": rfc3339(trigger.created_at),
        "settled_at": rfc3339(trigger.settled_at),
    }


def project_text(detail: ProjectDetail) -> str:
    """A project with its newest triggers, for people."""
    view = detail.project
    project = view.project
    lines = [f"{project.name}" + (" (paused)" if view.paused else "")]
    facts = {
        "repository": project.url or "pushes to Longshore",
        "default branch": project.default_branch or "the repository's own",
        "poll": "never" if project.poll_seconds is None else f"every {duration(project.poll_seconds)}",
        "credentials": project.credentials or "none",
        "webhooks": "have a secret" if view.has_hook_secret else "have no secret",
        "protected": _protected(project),
        "forge": project.forge.kind if project.forge else "none",
    }
    lines += [f"  {key:15} {value}" for key, value in facts.items()]
    if detail.triggers:
        lines.append("last triggers:")
        lines += [f"  {_trigger_text(trigger)}" for trigger in detail.triggers]
    return "\n".join(lines)


def _protected(project: ProjectSpec) -> str:
    branches = ["the default branch"] if project.protected_branches is None else project.protected_branches
    tags = [f"tags {' '.join(project.protected_tags)}"] if project.protected_tags else []
    return ", ".join([*branches, *tags]) or "nothing"


def _trigger_text(trigger: TriggerView) -> str:
    what = f"merge request {trigger.merge_request}" if trigger.merge_request else trigger.ref or "the default branch"
    commit = f" {trigger.sha[:SHORT_SHA]}" if trigger.sha else ""
    result = f"run {trigger.run}" if trigger.run is not None else trigger.state
    reason = f": {trigger.reason}" if trigger.reason else ""
    fork = ", from a fork" if trigger.from_fork else ""
    ago = duration(max(0.0, time.time() - trigger.created_at))
    return f"{trigger.id}  {trigger.source} of {what}{commit}{fork}, {ago} ago: {result}{reason}"
