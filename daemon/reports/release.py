"""What a job releases, from its keyword, its variables and its description's file. Pure.

Fails a job on the values that GitLab refuses: those that variables have filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from daemon.executors.base import DESCRIPTION, Collected
from protocol.plan import Release, ReleaseLink
from protocol.variables import VariableTooLong

MAX_DESCRIPTION = 256 << 10
"""Bytes of a description that are kept; all of it goes in one message, with the job's other results."""
MAX_BYTES = 384 << 10
"""Maximum size of a release as a whole. Masking may double it, and its message has at most 1 MiB."""
BAD_TAG = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock$")
"""What git refuses in a tag's name."""
URL = re.compile(r"(?:https?|ftp)://[^\s/]\S*", re.IGNORECASE)


class BadRelease(Exception):
    """A value of the release is wrong; the message names its keyword."""


class ReleaseReport(msgspec.Struct, frozen=True):
    """A release; `warning` is for people."""

    release: Release
    warning: str | None = None


def read_release(spec: Release, expand: Callable[[str], str], collected: Iterable[Collected]) -> ReleaseReport:
    """The release of a job that has succeeded, by its plan. Raises BadRelease."""
    try:
        made = with_texts(spec, expand)
    except VariableTooLong as error:
        raise BadRelease(str(error)) from None
    description, warning = made.description, None
    file = next((item for item in collected if item.kind == DESCRIPTION), None)
    if file is not None:
        with file.path.open("rb") as stream:
            description = stream.read(MAX_DESCRIPTION + 1).decode(errors="replace")
    if len(data := description.encode(errors="replace")) > MAX_DESCRIPTION:
        description = data[:MAX_DESCRIPTION].decode(errors="ignore")
        warning = f"release: only the first {MAX_DESCRIPTION >> 10} KiB of its description are kept"
    made = msgspec.structs.replace(
        made,
        description=description,
        name=made.name or made.tag_name,
        ref=made.ref or expand("$CI_COMMIT_SHA"),
        milestones=[milestone for milestone in made.milestones if milestone],
    )
    _check(made)
    return ReleaseReport(made, warning)


def with_texts(release: Release, change: Callable[[str], str]) -> Release:
    """A release with every text changed."""
    fields = {name: change(getattr(release, name)) for name in _texts_of(Release)}
    links = [
        msgspec.structs.replace(link, **{name: change(getattr(link, name)) for name in _texts_of(ReleaseLink)})
        for link in release.links
    ]
    milestones = [change(milestone) for milestone in release.milestones]
    return msgspec.structs.replace(release, **fields, milestones=milestones, links=links)


def _texts_of(kind: type[msgspec.Struct]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind) if field.type is str]


def _check(release: Release) -> None:
    if not release.tag_name:
        raise BadRelease("tag_name is empty")
    if BAD_TAG.search(release.tag_name):
        raise BadRelease(f"tag_name: {release.tag_name[:100]!r} is not a name of a tag")
    if not release.description.strip():
        raise BadRelease("description is empty")
    if release.released_at:
        try:
            datetime.fromisoformat(release.released_at)
        except ValueError:
            what = f"released_at: {release.released_at[:100]!r} is not a time in ISO 8601"
            raise BadRelease(what) from None
    for number, link in enumerate(release.links):
        if not link.name or not URL.fullmatch(link.url):
            raise BadRelease(f"assets:links[{number}]: it needs a name and a URL, not {link.name!r} and {link.url!r}")
        for name in ("name", "url"):
            if getattr(link, name) in (getattr(other, name) for other in release.links[:number]):
                raise BadRelease(f"assets:links[{number}]: another link has the same {name}")
    if len(msgspec.msgpack.encode(release)) > MAX_BYTES:
        raise BadRelease(f"it is larger than {MAX_BYTES >> 10} KiB")
