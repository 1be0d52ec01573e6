"""Reads `artifacts:reports:annotations` files: links that a job shows. Pure: reads the streams that it is given.

A file is a JSON object of lists by name, as in GitLab's schema:
`{"docs": [{"external_link": {"label": "API", "url": "https://..."}}]}`.
"""

from __future__ import annotations

from typing import BinaryIO, cast

import msgspec

from daemon.reports.files import BadReport, Mask, ReportFiles, decode_text, read_bounded, read_each
from protocol.decoders import from_json
from protocol.reports import MOST_LINKS, Link

MAX_BYTES = 1 << 20
"""Maximum size of a file; GitLab allows 80 KB unless an administrator allows more."""
MOST_LISTS = 100
"""Limit of lists in a file; GitLab's is 20 unless an administrator allows more."""
MOST_ITEMS = 1000
"""Limit of a list, as in GitLab."""
LONGEST_NAME = 200
"""Characters of a list's name or a label that are kept."""
LONGEST_URL = 1000
"""Bytes of a URL; a link with a longer one is left out."""


class _ExternalLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: str = ""
    url: str = ""


class _Annotation(msgspec.Struct, forbid_unknown_fields=True):
    external_link: _ExternalLink = _ExternalLink()


_Lists = dict[str, list[_Annotation]]


class AnnotationsReport(msgspec.Struct):
    """The links of report files. `odd` has the reasons of unreadable files, `notes` those of links left out."""

    links: list[Link] = []
    odd: list[str] = []
    notes: list[str] = []


def parse_annotations(files: ReportFiles, mask: Mask = str) -> AnnotationsReport:
    """The links of report files in order; an unreadable file is skipped."""
    report = AnnotationsReport()
    bad = 0

    def read(stream: BinaryIO) -> None:
        nonlocal bad
        links = _read(stream, mask)
        usable = [link for link in links if link.url and len(link.url.encode()) <= LONGEST_URL]
        bad += len(links) - len(usable)
        report.links += usable

    report.odd = read_each(files, read)
    if bad:
        report.notes.append(f"{bad} annotations left out: without a URL, or with one of over {LONGEST_URL} bytes")
    if len(report.links) > MOST_LINKS:
        report.notes.append(f"the first {MOST_LINKS} of {len(report.links)} annotations are shown")
        del report.links[MOST_LINKS:]
    return report


def _read(stream: BinaryIO, mask: Mask) -> list[Link]:
    text = decode_text(read_bounded(stream, MAX_BYTES))
    try:
        lists = from_json(text, cast("type[_Lists]", _Lists))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadReport(f"not GitLab's format of annotations: {error}") from error
    if len(lists) > MOST_LISTS:
        raise BadReport(f"{len(lists)} lists, at most {MOST_LISTS}")
    for name, items in lists.items():
        if len(items) > MOST_ITEMS:
            raise BadReport(f"the list {mask(name)[:LONGEST_NAME]!r} has {len(items)} items, at most {MOST_ITEMS}")
    return [_link(name, item.external_link, mask) for name, items in lists.items() for item in items]


def _link(group: str, link: _ExternalLink, mask: Mask) -> Link:
    url = mask(link.url.strip())
    title = mask(" ".join(link.label.split())) or url
    return Link(title=title[:LONGEST_NAME], url=url, group=mask(group)[:LONGEST_NAME])
