"""The tables of a job's reports: links, coverage by file, code quality issues. Their texts come from the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from protocol.display import clean, hyperlink
from protocol.reports import FileCoverage, JobReports, Link, QualityIssue
from tui.presentation.spans import LINK, Span, Spans
from tui.widgets.table import Column, Table

R = TypeVar("R")
SEVERITY_PAINTS = {"blocker": "error", "critical": "error", "major": "warning"}


def _link(link: Link, _now: float) -> Spans:
    address = hyperlink(link.url)
    return [(clean(link.title), LINK + address if address else "strong")]


def _target(link: Link, _now: float) -> Spans:
    return [(clean(link.url), "") if link.url else (", ".join(map(clean, link.paths)), "")]


class Rest(msgspec.Struct, frozen=True):
    """A last row: what the rows before leave out."""

    text: str


def _or_rest(cell: Callable[[R], Span]) -> Callable[[R | Rest, float], Spans]:
    return lambda row, _: [(row.text, "muted") if isinstance(row, Rest) else cell(row)]


def _but_rest(cell: Callable[[R], Span]) -> Callable[[R | Rest, float], Spans]:
    return lambda row, _: [] if isinstance(row, Rest) else [cell(row)]


LINKS: tuple[Column[Link], ...] = (
    Column("Link", _link, 16, flex=2),
    Column("To", _target, 20, flex=3),
    Column("List", lambda link, _: [(clean(link.group or "artifacts"), "muted")], 9, flex=1, rank=1),
)
COVERAGE: tuple[Column[FileCoverage | Rest], ...] = (
    Column("Coverage", _but_rest(lambda file: (file.percent, "strong")), 8, right=True),
    Column("Lines", _but_rest(lambda file: (f"{file.covered}/{file.total}", "")), 11, rank=1, right=True),
    Column("File", _or_rest(lambda file: (clean(file.path), "")), 20, flex=1),
)
ISSUES: tuple[Column[QualityIssue | Rest], ...] = (
    Column("Severity", _but_rest(lambda issue: (clean(issue.severity), SEVERITY_PAINTS.get(issue.severity, ""))), 8),
    Column("Place", _but_rest(lambda issue: (clean(f"{issue.path}:{issue.line}"), "")), 16, flex=2),
    Column("Issue", _or_rest(lambda issue: (clean(issue.description), "")), 20, flex=4),
    Column("Check", _but_rest(lambda issue: (clean(issue.check), "muted")), 8, flex=1, rank=1),
)


def report_panes() -> Iterator[Table[Any]]:
    """The tables, empty. The id of one is `pane-` and the name that `report_tabs` gives."""
    yield Table(LINKS, id, empty="No links.", id="pane-links")
    yield Table(COVERAGE, id, empty="No file has lines.", id="pane-coverage")
    yield Table(ISSUES, id, empty="No issues.", id="pane-quality")


def report_tabs(reports: JobReports) -> Iterator[tuple[str, str, Sequence[Any]]]:
    """Name, label and rows of the tables that a job needs."""
    if reports.links:
        yield "links", f"Links {len(reports.links)}", reports.links
    if (lines := reports.lines) is not None:
        better = _rest(lines.files - len(lines.worst), "files with more coverage")
        outside = _rest(lines.outside, "files outside the project, left out")
        yield "coverage", f"Coverage {lines.percent}", [*lines.worst, *better, *outside]
    if (quality := reports.quality) is not None:
        more = _rest(quality.total - len(quality.issues), "more issues")
        yield "quality", f"Issues {quality.total}", [*quality.issues, *more]


def _rest(count: int, what: str) -> list[Rest]:
    return [Rest(f"and {count:,} {what}")] if count > 0 else []
