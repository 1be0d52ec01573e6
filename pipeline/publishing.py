"""Compiles a job's `release`: what it announces when it succeeds. Pure; the worker expands the values."""

from __future__ import annotations

from datetime import datetime

from pipeline.job_parts import text, texts
from pipeline.nodes import Map, Seq, shown
from pipeline.problems import Report
from protocol.plan import Release, ReleaseLink


def release_of(job: str, config: Map, report: Report) -> Release | None:
    """A job's release. Reports what GitLab refuses."""
    details = config.get("release")
    if not isinstance(details, Map):
        return None
    released_at = text(details.get("released_at"))
    if released_at and "$" not in released_at and not _is_time(released_at):
        what, mend = f"{shown(released_at)} is not a time", "write it in ISO 8601, such as `2026-01-31T12:00:00Z`"
        report.problem(what, details.at("released_at"), f"{job}.release.released_at", mend)
    return Release(
        tag_name=text(details.get("tag_name")),
        description=text(details.get("description")),
        name=text(details.get("name")),
        tag_message=text(details.get("tag_message")),
        ref=text(details.get("ref")),
        milestones=texts(details.get("milestones")),
        released_at=released_at,
        links=_links(job, details, report),
    )


def _is_time(written: str) -> bool:
    try:
        datetime.fromisoformat(written)
    except ValueError:
        return False
    return True


def _links(job: str, details: Map, report: Report) -> list[ReleaseLink]:
    assets = details.get("assets")
    links = assets.get("links") if isinstance(assets, Map) else None
    found: list[ReleaseLink] = []
    for number, (link, mark) in enumerate(links.entries() if isinstance(links, Seq) else ()):
        if not isinstance(link, Map):
            continue
        key = f"{job}.release.assets.links[{number}]"
        made = ReleaseLink(
            name=text(link.get("name")),
            url=text(link.get("url")),
            filepath=text(link.get("filepath")),
            link_type=text(link.get("link_type")),
        )
        for field in ("name", "url"):
            if getattr(made, field) in (getattr(other, field) for other in found):
                report.problem(f"another link has the same {field}", mark, f"{key}.{field}")
        if made.filepath and not made.filepath.startswith(("/", "$")):
            report.problem("must begin with /", link.at("filepath"), f"{key}.filepath")
        found.append(made)
    return found
