"""Pages as rows, for people and as JSON. Fields of the document may be added, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cli.render.json_views import pages_json, rfc3339
from protocol.views import JobView, Pages


def page_rows(jobs: Iterable[JobView], *, for_people: bool) -> list[dict[str, Any]]:
    """One row per job that has published pages."""
    return [
        _for_people(job, job.pages) if for_people else {"job": job.name, **pages_json(job.pages)}
        for job in jobs
        if job.pages is not None
    ]


def _for_people(job: JobView, pages: Pages) -> dict[str, Any]:
    return {
        "job": job.name,
        "directory": pages.publish,
        "prefix": pages.path_prefix,
        "files": pages.files,
        "bytes": pages.size,
        "kept until": rfc3339(pages.expires_at) or "the run is removed",
    }
