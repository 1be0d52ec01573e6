"""Reads the reports that a job has left. An unreadable one is skipped with a warning; only dotenv fails the job."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import BinaryIO

import msgspec

from daemon.executors.base import Collected
from daemon.logs.masking import Masker
from daemon.reports.annotations import parse_annotations
from daemon.reports.code_quality import parse_code_quality
from daemon.reports.coverage import Workspace, parse_cobertura, parse_jacoco
from daemon.reports.dotenv import MAX_BYTES, BadDotenv, parse_dotenv
from daemon.reports.junit import JUnitReport, parse_junit
from protocol.messages import Assignment
from protocol.plan import Release
from protocol.reports import JobReports, LineCoverage, Link
from protocol.test_results import pack
from protocol.views import ArtifactRef, JUnitSummary, Pages

MOST_NAMED = 3
"""Limit of report files named in a message."""
MOST_FILES = 100
"""Limit of files read of one kind, other than junit."""
KIND_BYTES = 256 << 20
"""Maximum size of the files read of one kind, other than junit."""
MOST_PATHS = 10
"""Limit of paths that a link to the artifacts names."""
LONGEST_PATH = 200


class Reports(msgspec.Struct):
    """A job's reports, and its stored files. `shown` is what people see of them, besides `tests`.

    `test_results` is packed. `warning` is for people: reports that can't be read. `failure` is a report that fails the
    job. Secrets are masked in `tests`, `test_results` and `shown` only.
    """

    artifacts: list[ArtifactRef] = []
    dotenv: dict[str, str] = {}
    tests: JUnitSummary | None = None
    test_results: bytes = b""
    shown: JobReports | None = None
    release: Release | None = None
    pages: Pages | None = None
    warning: str | None = None
    failure: str | None = None


def read_reports(collected: Sequence[Collected], assignment: Assignment, masker: Masker) -> Reports:
    """Reads the reports of a job; stores nothing. Raises OSError."""
    return _Reader(collected, assignment, masker).read()


class _Reader:
    """Reads one job's reports; `_warnings` has a sentence for each kind with an unreadable file."""

    def __init__(self, collected: Sequence[Collected], assignment: Assignment, masker: Masker) -> None:
        self._collected = collected
        self._assignment = assignment
        self._mask = masker.text
        self._warnings: list[str] = []
        self._stack = ExitStack()

    def read(self) -> Reports:
        reports = Reports()
        with self._stack:
            try:
                reports.dotenv = self._read_dotenv()
            except BadDotenv as error:
                reports.failure = f"bad dotenv report: {error}"
            junit = self._read_junit()
            reports.tests = junit.summary
            reports.test_results = pack(junit.results)
            reports.shown = self._read_shown(junit)
        reports.warning = "; ".join(self._warnings) or None
        return reports

    def _of_kind(self, kind: str) -> list[Collected]:
        return [item for item in self._collected if item.kind == kind]

    def _open(self, items: Sequence[Collected]) -> list[tuple[str, BinaryIO]]:
        return [(item.name or item.path.name, self._stack.enter_context(item.path.open("rb"))) for item in items]

    def _files(self, kind: str) -> list[tuple[str, BinaryIO]]:
        """The files of one kind, within the bounds."""
        found, used = [], 0
        items = self._of_kind(kind)
        for item in items[:MOST_FILES]:
            used += item.path.stat().st_size
            if used > KIND_BYTES:
                break
            found.append(item)
        if left := len(items) - len(found):
            bounds = f"at most {MOST_FILES} files of {KIND_BYTES} bytes in all are read"
            self._warnings.append(f"{left} of {len(items)} {kind} reports left out: {bounds}")
        return self._open(found)

    def _warn(self, kind: str, odd: Sequence[str]) -> None:
        if odd:
            more = f" (and {len(odd) - MOST_NAMED} more)" if len(odd) > MOST_NAMED else ""
            self._warnings.append(f"bad {kind} report: {'; '.join(odd[:MOST_NAMED])}{more}")

    def _read_dotenv(self) -> dict[str, str]:
        return parse_dotenv((name, stream.read(MAX_BYTES + 1)) for name, stream in self._open(self._of_kind("dotenv")))

    def _read_junit(self) -> JUnitReport:
        report = parse_junit(self._open(self._of_kind("junit")), self._mask)
        self._warn("junit", report.odd)
        return report

    def _read_shown(self, junit: JUnitReport) -> JobReports | None:
        annotations = parse_annotations(self._files("annotations"), self._mask)
        self._warn("annotations", annotations.odd)
        self._warnings += annotations.notes
        coverage = self._read_coverage()
        quality = parse_code_quality(self._files("codequality"), self._mask)
        self._warn("codequality", quality.odd)
        reports = JobReports(
            links=[*self._exposed(), *annotations.links],
            lines=coverage,
            quality=quality.quality,
            failed_tests=junit.failures,
        )
        return reports if reports != JobReports() else None

    def _exposed(self) -> list[Link]:
        """The link to the archive, if the job has one and exposes it."""
        title = self._assignment.job.artifacts.expose_as if self._assignment.job.artifacts else ""
        archives = self._of_kind("archive")
        if not title or not archives:
            return []
        paths = [self._mask(path)[:LONGEST_PATH] for path in archives[0].paths[:MOST_PATHS]]
        return [Link(title=title, paths=paths)]

    def _read_coverage(self) -> LineCoverage | None:
        for kind, parse in (("cobertura", parse_cobertura), ("jacoco", parse_jacoco)):
            items = self._of_kind(kind)
            if items:
                project, directory = self._assignment.project, self._assignment.project_dir
                report = parse(self._files(kind), Workspace(project, directory, items[0].workspace), self._mask)
                self._warn(kind, report.odd)
                return report.lines
        return None
