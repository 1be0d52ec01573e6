"""Sums up `artifacts:reports:junit` files. Pure: reads streams that it is given.

The files come out of jobs, so nothing in them is trusted: documents with a DTD are refused (no entities, no external
references), and no tree is built, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO
from xml.parsers import expat

from protocol.views import JUnitSummary

MAX_BYTES = 100 << 20
"""Bytes read of one file."""
MAX_DEPTH = 100
MAX_FAILURES = 20
"""Failed tests that are named; the rest are only counted."""
MAX_NAME = 300
PIECE = 64 << 10


class BadJUnit(Exception):
    """The file is not JUnit's XML."""


class _Counter:
    """expat's handlers. A test case counts once, as the worst that it has: error, failure, skipped."""

    def __init__(self) -> None:
        self.total = self.failed = self.errors = self.skipped = 0
        self.seconds = 0.0
        self.failures: list[str] = []
        self._depth = 0
        self._case: str | None = None
        self._verdict = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadJUnit(f"nested deeper than {MAX_DEPTH} elements")
        if self._depth == 1 and tag not in ("testsuites", "testsuite"):
            raise BadJUnit(f"the outermost element is <testsuites> or <testsuite>, not <{tag[:80]}>")
        if tag == "testcase":
            parts = (attributes.get("classname", ""), attributes.get("name", ""))
            self._case = ".".join(part for part in parts if part)[:MAX_NAME]
            self._verdict = ""
            self.seconds += _seconds(attributes.get("time", ""))
        elif self._case is not None and (
            tag == "error"
            or (tag == "failure" and self._verdict != "error")
            or (tag == "skipped" and not self._verdict)
        ):
            self._verdict = tag

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag != "testcase" or self._case is None:
            return
        self.total += 1
        self.failed += self._verdict == "failure"
        self.errors += self._verdict == "error"
        self.skipped += self._verdict == "skipped"
        if self._verdict in ("failure", "error") and len(self.failures) < MAX_FAILURES:
            self.failures.append(self._case)
        self._case = None

    def doctype(self, *_: object) -> None:
        raise BadJUnit("a document type declaration is not allowed in a report")


def _seconds(text: str) -> float:
    try:
        seconds = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if 0.0 <= seconds < 1e9 else 0.0


def _read(stream: BinaryIO, counter: _Counter) -> None:
    parser = expat.ParserCreate()
    parser.StartElementHandler = counter.start
    parser.EndElementHandler = counter.end
    parser.StartDoctypeDeclHandler = counter.doctype
    left = MAX_BYTES
    try:
        while piece := stream.read(min(PIECE, left + 1)):
            left -= len(piece)
            if left < 0:
                raise BadJUnit(f"larger than {MAX_BYTES} bytes")
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadJUnit(f"line {error.lineno}: {expat.errors.messages[error.code]}") from error


def parse_junit(files: Iterable[tuple[str, BinaryIO]]) -> JUnitSummary:
    """The sum over report files, given as (name, stream). Raises BadJUnit naming the file."""
    total = _Counter()
    for name, stream in files:
        counter = _Counter()
        try:
            _read(stream, counter)
        except BadJUnit as error:
            raise BadJUnit(f"{name}: {error}") from error
        total.total += counter.total
        total.failed += counter.failed
        total.errors += counter.errors
        total.skipped += counter.skipped
        total.seconds += counter.seconds
        total.failures = (total.failures + counter.failures)[:MAX_FAILURES]
    return JUnitSummary(
        total=total.total,
        failed=total.failed,
        errors=total.errors,
        skipped=total.skipped,
        seconds=round(total.seconds, 6),
        failures=total.failures,
    )
