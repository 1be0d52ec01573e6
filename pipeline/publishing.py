"""Compiles what a job publishes when it succeeds, `release` and `pages`. Pure; the worker expands most values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec

from pipeline.job_parts import text, texts
from pipeline.nodes import Map, Seq, shown
from pipeline.problems import Report
from pipeline.units import DAY, seconds_of
from protocol.plan import ArtifactsSpec, PagesSpec, Release, ReleaseLink
from protocol.variables import expand

PAGES = "pages"
"""The job that publishes pages without saying so."""
DEFAULT_PUBLISH = "public"
LONGEST_PREFIX = 63
PREFIXED_KEPT = DAY
"""Seconds that pages with a prefix are kept by default, as in GitLab."""


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


def pages_of(base: str, name: str, config: Map, variables: Mapping[str, str], report: Report) -> PagesSpec | None:
    """The pages that a job publishes, if it does: a job named `pages`, or one that says so."""
    value, publish = config.get("pages"), text(config.get("publish"))
    details = value if isinstance(value, Map) else Map(config.at("pages"))
    if value is False or (value is None and name != PAGES):
        if publish:
            what, mend = "is for jobs that publish pages", "add `pages: true`, or write `pages:publish`"
            report.problem(what, config.at("publish"), f"{base}.publish", mend)
        return None
    if publish and details.get("publish") is not None:
        report.problem("can't be used together with `pages:publish`", config.at("publish"), f"{base}.publish")
    prefix = _prefix(expand(text(details.get("path_prefix")), variables))
    return PagesSpec(
        publish=text(details.get("publish")) or publish or DEFAULT_PUBLISH,
        path_prefix=prefix,
        expire_in=_kept(base, details, prefix, variables, report),
    )


def with_pages(artifacts: ArtifactsSpec | None, pages: PagesSpec | None) -> ArtifactsSpec | None:
    """A job's artifacts: the directory of its pages is one of them."""
    if pages is None:
        return artifacts
    artifacts = artifacts or ArtifactsSpec()
    if pages.publish.strip("/") in (path.strip("/") for path in artifacts.paths):
        return artifacts
    return msgspec.structs.replace(artifacts, paths=[*artifacts.paths, pages.publish])


def _prefix(written: str) -> str:
    """A prefix as GitLab has it in addresses."""
    return re.sub(r"[^a-z0-9.]", "-", written.lower())[:LONGEST_PREFIX].strip("-.")


def _kept(job: str, details: Map, prefix: str, variables: Mapping[str, str], report: Report) -> float | None:
    written = expand(text(details.get("expire_in")), variables).strip()
    if not written:
        return PREFIXED_KEPT if prefix else None
    if written.lower() == "never":
        return None
    seconds = seconds_of(written)
    if not seconds:
        what, mend = f"{shown(written)} is not a duration", "write `1 week` or `never`"
        report.problem(what, details.at("expire_in"), f"{job}.pages.expire_in", mend)
    return seconds
