"""Environments as rows, for people and as JSON. Fields of the document may be added, never changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cli.render.json_views import rfc3339
from cli.render.phrases import duration
from protocol.statuses import EnvironmentStatus
from protocol.views import EnvironmentView

SHORT = 8
"""Digits of a commit that people read."""


def environment_rows(environments: Iterable[EnvironmentView], *, for_people: bool) -> list[dict[str, Any]]:
    """One row per environment, in their order."""
    row = _for_people if for_people else _as_json
    return [row(environment) for environment in environments]


def _as_json(environment: EnvironmentView) -> dict[str, Any]:
    deployment = environment.deployment
    return {
        "project": environment.project,
        "name": environment.name,
        "slug": environment.slug,
        "tier": environment.tier,
        "url": environment.url or None,
        "status": str(environment.status),
        "deployment": {
            "run": deployment.run,
            "job": deployment.job,
            "ref": deployment.ref,
            "sha": deployment.sha,
            "at": rfc3339(deployment.at),
        },
        "stop_jobs": environment.stop_jobs,
        "auto_stop_at": rfc3339(environment.auto_stop_at),
        "stopped_at": rfc3339(environment.stopped_at),
        "message": environment.message,
    }


def _for_people(environment: EnvironmentView) -> dict[str, Any]:
    deployment, now = environment.deployment, time.time()
    notes = [environment.message] if environment.message else []
    if environment.auto_stop_at is not None and environment.status is EnvironmentStatus.AVAILABLE:
        left = environment.auto_stop_at - now
        notes.append(f"stops in {duration(left)}" if left > 0 else "due to be stopped")
    return {
        "environment": environment.name,
        "project": environment.project,
        "tier": environment.tier,
        "status": str(environment.status),
        "deployed": f"{duration(now - deployment.at)} ago by run {deployment.run}: {deployment.job}",
        "commit": f"{deployment.ref} {deployment.sha[:SHORT]}".strip(),
        "url": environment.url,
        "note": "; ".join(notes),
    }
