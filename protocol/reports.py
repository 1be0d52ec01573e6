"""What a worker has read in a job's reports: failed tests, links, line coverage, code quality.

It travels in the job's final status and is stored with the attempt, so its lists and texts are bounded; the report
files themselves are artifacts.
"""

from __future__ import annotations

from itertools import accumulate

import msgspec

MOST_LINKS = 50
MOST_FILES = 100
"""Limit of files listed with their coverage; the totals are of all files."""
MOST_ISSUES = 100
"""Limit of code quality issues listed; the counts are of all issues."""
MOST_FAILED_TESTS = 100
LINKS_IN_SUMMARY = 10
SUMMARY_CHARACTERS = 2000
"""Limit of the texts of links in a summary, after the first link: a run with thousands of jobs is one message."""
SEVERITIES = ("blocker", "critical", "major", "minor", "info", "unknown")
"""Severities of code quality issues, worst first."""


class ReportPart(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts."""


class Link(ReportPart, frozen=True, kw_only=True):
    """A link that a job shows: to `url`, from `reports:annotations`; or to `paths` of its archive, by `expose_as`.

    `group` is the name of the list that an annotation is in. The URL comes from the job and may have any scheme.
    """

    title: str
    url: str = ""
    group: str = ""
    paths: list[str] = []

    @property
    def characters(self) -> int:
        """The length of all texts."""
        return sum(map(len, (self.title, self.url, self.group, *self.paths)))


class Coverage(ReportPart, frozen=True, kw_only=True):
    """A number of instrumented lines, and how many of them the tests have run."""

    covered: int
    total: int

    @property
    def percent(self) -> str:
        """The share of covered lines, rounded down: 100 % is all of them. Of no lines, it is 0 %."""
        return f"{1000 * self.covered // self.total / 10 if self.total else 0:g} %"


class FileCoverage(Coverage, frozen=True, kw_only=True):
    """The lines of a file."""

    path: str


class LineCoverage(Coverage, frozen=True, kw_only=True):
    """A job's `reports:coverage_report`: totals of all `files`, and the files with the lowest coverage.

    `outside` counts files that are not in the job's workspace, such as a library's; they are left out of the totals.
    """

    files: int
    outside: int = 0
    worst: list[FileCoverage] = []


class QualityIssue(ReportPart, frozen=True, kw_only=True):
    """One issue of a job's `reports:codequality`."""

    severity: str
    description: str
    path: str
    line: int
    check: str = ""


class CodeQuality(ReportPart, frozen=True, kw_only=True):
    """A job's `reports:codequality`: the number of issues by severity, and the worst issues."""

    counts: dict[str, int] = {}
    issues: list[QualityIssue] = []

    @property
    def total(self) -> int:
        """The number of issues."""
        return sum(self.counts.values())

    @property
    def by_severity(self) -> str:
        """The counts in words, worst first: `1 major, 8 info`."""
        return ", ".join(f"{self.counts[severity]} {severity}" for severity in SEVERITIES if severity in self.counts)


class FailedTest(ReportPart, frozen=True, kw_only=True):
    """A test of a job's `reports:junit` that failed, and its message in one line, if it has one."""

    name: str
    message: str = ""


class JobReports(ReportPart, frozen=True, kw_only=True):
    """A job's reports; the counts of its tests are apart, in `JUnitSummary`."""

    links: list[Link] = []
    lines: LineCoverage | None = None
    quality: CodeQuality | None = None
    failed_tests: list[FailedTest] = []

    def summary(self) -> JobReports:
        """The first links and all totals, for views of many jobs."""
        lines, quality = self.lines, self.quality
        sizes = accumulate(link.characters for link in self.links)
        first = [link for link, size in zip(self.links, sizes, strict=True) if size <= SUMMARY_CHARACTERS]
        return JobReports(
            links=(first or self.links[:1])[:LINKS_IN_SUMMARY],
            lines=msgspec.structs.replace(lines, worst=[]) if lines else None,
            quality=msgspec.structs.replace(quality, issues=[]) if quality else None,
        )
