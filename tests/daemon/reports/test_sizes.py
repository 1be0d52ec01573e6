"""How much of a job's reports travels, and where."""

from __future__ import annotations

from daemon.reports import code_quality, coverage, reader
from daemon.reports.annotations import LONGEST_NAME, LONGEST_URL
from protocol import messages as m
from protocol.codec import NESTED_MAP_BYTES, encode
from protocol.reports import (
    LINKS_IN_SUMMARY,
    MOST_FILES,
    MOST_ISSUES,
    MOST_LINKS,
    SUMMARY_CHARACTERS,
    CodeQuality,
    FileCoverage,
    JobReports,
    LineCoverage,
    Link,
    QualityIssue,
)
from protocol.statuses import ExecutionStatus

WIDE = "\N{PILE OF POO}"
LARGE = 1 << 31


def largest() -> JobReports:
    """Reports at all of the worker's bounds, in characters of four bytes."""
    name = WIDE * LONGEST_NAME
    exposed = Link(title=name, paths=[WIDE * reader.LONGEST_PATH] * reader.MOST_PATHS)
    link = Link(title=name, group=name, url="u" * LONGEST_URL)
    file = FileCoverage(path=WIDE * coverage.MOST_PATH, covered=LARGE, total=LARGE)
    text = WIDE * code_quality.LONGEST_TEXT
    issue = QualityIssue(
        severity="critical", description=text, path=text, line=LARGE, check=WIDE * code_quality.LONGEST_CHECK
    )
    return JobReports(
        links=[exposed] + [link] * MOST_LINKS,
        lines=LineCoverage(covered=LARGE, total=LARGE, files=LARGE, worst=[file] * MOST_FILES),
        quality=CodeQuality(counts={"critical": LARGE}, issues=[issue] * MOST_ISSUES),
    )


def test_the_largest_reports_take_half_of_a_status_at_most() -> None:
    status = m.JobStatus(attempt="1.1", seq=1, status=ExecutionStatus.SUCCESS, reports=largest())
    (frame,) = encode(status)
    assert len(frame) < NESTED_MAP_BYTES[m.JobStatus] / 2


def test_a_summary_has_few_links_and_no_lists() -> None:
    short = [Link(title="a", url="b")] * (LINKS_IN_SUMMARY + 1)
    assert JobReports(links=short).summary() == JobReports(links=short[:LINKS_IN_SUMMARY])
    long = Link(title="a", url="b" * SUMMARY_CHARACTERS)
    assert JobReports(links=[long, *short]).summary().links == [long]
    half = Link(title="", url="b" * (SUMMARY_CHARACTERS // 2))
    assert JobReports(links=[half] * 5).summary().links == [half] * 2
    whole = largest()
    assert whole.lines
    assert whole.quality
    summary = whole.summary()
    assert summary.lines
    assert summary.quality
    assert (summary.lines.total, summary.lines.worst) == (LARGE, [])
    assert (summary.quality.counts, summary.quality.issues) == (whole.quality.counts, [])
