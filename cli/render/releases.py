"""Releases as rows, for people and as JSON. Fields of the document may be added, never changed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cli.render.json_views import release_json, rfc3339
from cli.render.phrases import LINE, duration
from protocol.views import ReleaseView


def release_rows(releases: Iterable[ReleaseView], *, for_people: bool) -> list[dict[str, Any]]:
    """One row per release, in their order."""
    row = _for_people if for_people else _as_json
    return [row(release) for release in releases]


def _as_json(view: ReleaseView) -> dict[str, Any]:
    return {
        "project": view.project,
        "run": view.run,
        "job": view.job,
        "created_at": rfc3339(view.at),
        **release_json(view.release),
    }


def _for_people(view: ReleaseView) -> dict[str, Any]:
    release = view.release
    return {
        "tag": release.tag_name,
        "name": release.name if release.name != release.tag_name else "",
        "project": view.project,
        "made": ("" if view.at is None else f"{duration(time.time() - view.at)} ago ") + f"by run {view.run}",
        "description": next(iter(release.description.strip().splitlines()), "")[:LINE],
    }
