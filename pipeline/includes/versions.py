"""Versions of a component: which tag `~latest`, `1` or `1.2` means, as in GitLab's catalog. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

LATEST = "~latest"
_PARTIAL = re.compile(r"\d+(?:\.\d+)?\Z")
_SEMANTIC = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?\Z")


def is_semantic(tag: str) -> bool:
    """Whether a tag is a semantic version; only these count as a component's versions."""
    return _SEMANTIC.match(tag) is not None


def is_partial(version: str) -> bool:
    """Whether a version stands for the highest of several: `~latest`, `1`, `1.2`."""
    return version == LATEST or _PARTIAL.match(version) is not None


def highest(tags: Iterable[str], version: str) -> str | None:
    """The tag that `~latest` or a partial version stands for; pre-releases never count."""
    wanted = () if version == LATEST else tuple(int(part) for part in version.split("."))
    found = [
        (numbers, tag)
        for tag in tags
        if (match := _SEMANTIC.match(tag)) is not None
        and match[4] is None
        and (numbers := tuple(int(match[part]) for part in (1, 2, 3)))[: len(wanted)] == wanted
    ]
    return max(found)[1] if found else None
