"""Summarises `artifacts:reports:junit` files. Pure: reads the streams that it is given."""

from __future__ import annotations

import re
from typing import BinaryIO

import msgspec

from daemon.reports.files import Mask, ReportFiles, read_each
from daemon.reports.xml_reader import read_xml
from protocol.views import JUnitSummary

MAX_FAILURES = 20
"""Limit of failed tests listed by name; further ones are only counted."""
MAX_NAME = 300
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
NUMBER = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)


class _Counter:
    """Counts the test cases of a file. One counts once, by its worst outcome: error, failure, skipped."""

    roots = ("testsuites", "testsuite")

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.total = self.failed = self.errors = self.skipped = 0
        self.seconds = 0.0
        self.failures: list[str] = []
        self._case: str | None = None
        self._verdict = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "testcase":
            parts = (attributes.get("classname", ""), attributes.get("name", ""))
            self._case = " ".join(".".join(part for part in parts if part).split()) or "(no name)"
            self._verdict = ""
            self.seconds += _seconds(attributes.get("time", ""))
        elif self._case is not None and (
            tag == "error"
            or (tag == "failure" and self._verdict != "error")
            or (tag == "skipped" and not self._verdict)
        ):
            self._verdict = tag

    def text(self, data: str) -> None:
        """Output of tests does not count."""

    def end(self, tag: str) -> None:
        if tag != "testcase" or self._case is None:
            return
        self.total += 1
        self.failed += self._verdict == "failure"
        self.errors += self._verdict == "error"
        self.skipped += self._verdict == "skipped"
        if self._verdict in ("failure", "error") and len(self.failures) < MAX_FAILURES:
            self.failures.append(self._mask(self._case)[:MAX_NAME])
        self._case = None

    def add(self, other: _Counter) -> None:
        self.total += other.total
        self.failed += other.failed
        self.errors += other.errors
        self.skipped += other.skipped
        self.seconds += other.seconds
        self.failures = (self.failures + other.failures)[:MAX_FAILURES]


def _seconds(text: str) -> float:
    """A number of seconds, also with a comma for thousands or before the decimals; 0 for anything else."""
    text = text.strip()
    text = text.replace(",", "" if THOUSANDS.fullmatch(text) else ".")
    number = NUMBER.match(text)
    seconds = float(number.group()) if number else 0.0
    return seconds if seconds < 1e9 else 0.0


class JUnitReport(msgspec.Struct):
    """Summary of report files. `summary` is None if no file could be read; `odd` has the reasons, by file."""

    summary: JUnitSummary | None = None
    odd: list[str] = []


def parse_junit(files: ReportFiles, mask: Mask = str) -> JUnitReport:
    """The summary of report files; an unreadable one is skipped."""
    total = _Counter(mask)
    read = 0

    def count(stream: BinaryIO) -> None:
        nonlocal read
        counter = _Counter(mask)
        read_xml(stream, counter)
        total.add(counter)
        read += 1

    odd = read_each(files, count)
    if not read:
        return JUnitReport(odd=odd)
    summary = JUnitSummary(
        total=total.total,
        failed=total.failed,
        errors=total.errors,
        skipped=total.skipped,
        seconds=round(total.seconds, 6),
        failures=total.failures,
    )
    return JUnitReport(summary, odd)
