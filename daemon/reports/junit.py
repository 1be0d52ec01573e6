"""Summarises `artifacts:reports:junit` files. Pure: reads the streams that it is given."""

from __future__ import annotations

import re
from typing import BinaryIO

import msgspec

from daemon.reports.files import Mask, ReportFiles, read_each
from daemon.reports.xml_reader import read_xml
from protocol.reports import MOST_FAILED_TESTS, FailedTest
from protocol.test_results import MOST_RESULTS, SingleResult, Verdict
from protocol.views import JUnitSummary

MAX_FAILURES = 20
"""Limit of failed tests that a summary lists by name; further ones are only counted."""
MAX_NAME = 300
MAX_MESSAGE = 300
MAX_TEXT = 64 << 10
"""Characters of a failure's text that are looked at for a message."""
VERDICTS = {
    "": Verdict.PASSED,
    "failure": Verdict.FAILED,
    "error": Verdict.FAILED,
    "skipped": Verdict.SKIPPED,
}
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
NUMBER = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)


class _Counter:
    """Counts the test cases of a file. One counts once, by its worst outcome: error, failure, skipped."""

    roots = ("testsuites", "testsuite")

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self.total = self.failed = self.errors = self.skipped = 0
        self.seconds = 0.0
        self.failures: list[FailedTest] = []
        self.results: list[SingleResult] = []
        self._case: str | None = None
        self._verdict = ""
        self._case_seconds = 0.0
        self._message = ""
        self._text: str | None = None  # of the failure that we are in

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "testcase":
            parts = (attributes.get("classname", ""), attributes.get("name", ""))
            self._case = " ".join(".".join(part for part in parts if part).split()) or "(no name)"
            self._verdict = ""
            self._case_seconds = _seconds(attributes.get("time", ""))
            self.seconds += self._case_seconds
        elif self._case is not None and (
            tag == "error"
            or (tag == "failure" and self._verdict != "error")
            or (tag == "skipped" and not self._verdict)
        ):
            if tag != self._verdict:  # of several failures, the first one's message
                self._message = attributes.get("message", "").strip() or attributes.get("type", "").strip()
                self._text = "" if not attributes.get("message", "").strip() else None
            self._verdict = tag

    def text(self, data: str) -> None:
        """Output of tests does not count; the text of a failure without a message is its message."""
        if self._text is not None and len(self._text) < MAX_TEXT:
            self._text += data

    def end(self, tag: str) -> None:
        if tag in ("failure", "error", "skipped"):
            self._message = (self._text or "").strip().partition("\n")[0] or self._message
            self._text = None
        if tag != "testcase" or self._case is None:
            return
        self.total += 1
        self.failed += self._verdict == "failure"
        self.errors += self._verdict == "error"
        self.skipped += self._verdict == "skipped"
        if self._verdict in ("failure", "error") and len(self.failures) < MOST_FAILED_TESTS:
            message = self._mask(" ".join(self._message.split()))[:MAX_MESSAGE]
            self.failures.append(FailedTest(name=self._mask(self._case)[:MAX_NAME], message=message))
        verdict = VERDICTS[self._verdict]
        if verdict is Verdict.FAILED or len(self.results) < MOST_RESULTS:
            self.results.append(SingleResult(self._mask(self._case)[:MAX_NAME], verdict, round(self._case_seconds, 3)))
            if len(self.results) > 2 * MOST_RESULTS:
                self._drop_results()
        self._case = None

    def _drop_results(self) -> None:
        """Bounds the memory of results: failed ones stay longest."""
        self.results = sorted(self.results, key=lambda result: result.verdict is not Verdict.FAILED)[:MOST_RESULTS]

    def add(self, other: _Counter) -> None:
        self.total += other.total
        self.failed += other.failed
        self.errors += other.errors
        self.skipped += other.skipped
        self.seconds += other.seconds
        self.failures = (self.failures + other.failures)[:MOST_FAILED_TESTS]
        self.results += other.results
        if len(self.results) > 2 * MOST_RESULTS:
            self._drop_results()


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
    failures: list[FailedTest] = []
    results: list[SingleResult] = []
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
        failures=[test.name for test in total.failures[:MAX_FAILURES]],
    )
    return JUnitReport(summary, total.failures, total.results, odd)
