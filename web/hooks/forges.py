"""All forges: which one sent a delivery, and which repository a project's hook may be about. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from web.hooks.bitbucket import BITBUCKET
from web.hooks.delivery import Delivery, Forge, Report
from web.hooks.gitea import GITEA
from web.hooks.github import GITHUB
from web.hooks.gitlab import GITLAB
from web.hooks.plain import PLAIN

FORGES = (GITEA, GITLAB, BITBUCKET, GITHUB, PLAIN)
"""Gitea comes before GitHub, whose headers it sends as well."""


def sender(delivery: Delivery) -> Forge | None:
    """The forge that a delivery's headers are of; None for any other request."""
    return next((forge for forge in FORGES if any(delivery.header(mark) for mark in forge.marks)), None)


def is_about(report: Report, project: str, url: str, others: Iterable[str]) -> bool:
    """Whether a report's repository is that of the `project` at `url`.

    The same repository has several addresses, so paths are compared, not hosts: `url` ends with the report's path, or
    is one of its addresses. A `url` without a host, such as a directory, tells nothing of the forge's names: then any
    repository is accepted but one of the projects in `others`.
    """
    named = [name for name in (_path(report.repository), *map(_path, report.urls)) if name]
    if not named:
        return True
    ours = _path(url)
    if project.lower() in named or any(ours == name or ("/" in name and ours.endswith(f"/{name}")) for name in named):
        return True
    if _has_host(url):
        return False
    return not any(name == other.lower() or name.endswith(f"/{other.lower()}") for name in named for other in others)


def _has_host(url: str) -> bool:
    return bool(urlsplit(url).hostname) if "://" in url else ":" in url.partition("/")[0]


def _path(url: str) -> str:
    """The path in a URL or in `user@host:path`, in lower case and without `.git`."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2] if _has_host(url) else url
    return path.strip("/").removesuffix(".git").lower()
