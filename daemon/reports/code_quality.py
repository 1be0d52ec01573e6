"""Summarises `artifacts:reports:codequality` files in Code Climate's format. Pure: reads the streams it is given."""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from daemon.reports.files import BadReport, Mask, ReportFiles, decode_text, read_bounded, read_each
from protocol.decoders import from_json
from protocol.reports import MOST_ISSUES, SEVERITIES, CodeQuality, QualityIssue

MAX_BYTES = 32 << 20
"""Maximum size of a file."""
LONGEST_TEXT = 200
"""Characters of a description or a path that are kept."""
LONGEST_CHECK = 80
"""Characters of a check's name that are kept."""


class _Lines(msgspec.Struct):
    begin: int


class _Begin(msgspec.Struct):
    line: int


class _Positions(msgspec.Struct):
    begin: _Begin


class _Location(msgspec.Struct):
    path: str
    lines: _Lines | None = None
    positions: _Positions | None = None


class _Entry(msgspec.Struct):
    """One issue, as GitLab's schema has it; other fields may hold anything."""

    description: str
    fingerprint: str
    severity: str
    location: _Location
    check_name: Any = None

    @property
    def line(self) -> int | None:
        """The first line of the issue's place."""
        if self.location.lines is not None:
            return self.location.lines.begin
        return self.location.positions.begin.line if self.location.positions is not None else None


class CodeQualityReport(msgspec.Struct):
    """Summary of report files. `quality` is None if no file could be read; `odd` has the reasons, by file."""

    quality: CodeQuality | None = None
    odd: list[str] = []


class _Issues:
    """Distinct issues by severity; of each severity no more are kept than can be shown."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.counts = dict.fromkeys(SEVERITIES, 0)
        self._kept: dict[str, list[QualityIssue]] = {severity: [] for severity in SEVERITIES}
        self._seen: set[str] = set()

    def add(self, entry: _Entry, line: int) -> None:
        if entry.fingerprint in self._seen:
            return
        self._seen.add(entry.fingerprint)
        severity = entry.severity.lower()
        severity = severity if severity in self.counts else SEVERITIES[-1]
        self.counts[severity] += 1
        if len(self._kept[severity]) < MOST_ISSUES:
            self._kept[severity].append(
                QualityIssue(
                    severity=severity,
                    description=self._mask(" ".join(entry.description.split()))[:LONGEST_TEXT],
                    path=self._mask(entry.location.path)[:LONGEST_TEXT],
                    line=line,
                    check=self._mask(entry.check_name)[:LONGEST_CHECK] if isinstance(entry.check_name, str) else "",
                )
            )

    def summary(self) -> CodeQuality:
        issues = [issue for severity in SEVERITIES for issue in self._kept[severity]]
        return CodeQuality(
            counts={severity: count for severity, count in self.counts.items() if count}, issues=issues[:MOST_ISSUES]
        )


def parse_code_quality(files: ReportFiles, mask: Mask = str) -> CodeQualityReport:
    """The issues of report files. Of an unreadable file, those before its first invalid entry count, as in GitLab."""
    issues = _Issues(mask)
    read = 0

    def count(stream: BinaryIO) -> None:
        nonlocal read
        entries = _entries(stream)
        read += 1
        for number, raw in enumerate(entries, 1):
            issues.add(*_entry(raw, number))

    odd = read_each(files, count)
    return CodeQualityReport(issues.summary() if read else None, odd)


def _entries(stream: BinaryIO) -> list[msgspec.Raw]:
    """The entries of a file, each still as JSON: memory is needed for one at a time."""
    text = decode_text(read_bounded(stream, MAX_BYTES))
    try:
        return from_json(text, list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadReport(f"not a list of issues in JSON: {error}") from error


def _entry(raw: msgspec.Raw, number: int) -> tuple[_Entry, int]:
    """An issue and its line. Raises BadReport."""
    try:
        entry = from_json(raw, _Entry)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadReport(f"entry {number}, from which on it is not read: {error}") from error
    if (line := entry.line) is None:
        raise BadReport(f"entry {number}, from which on it is not read: its location names no line")
    return entry, line
