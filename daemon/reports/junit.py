"""Summarises `artifacts:reports:junit` files. Pure: reads the streams that it is given.

The files come from jobs, so they are untrusted: entities are refused, nothing external is read, and no tree is built,
so memory does not grow with the file. Careless files are still read: text in an encoding other than the declared one,
characters that XML does not allow.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO
from xml.parsers import expat

import msgspec

from protocol.views import JUnitSummary

MAX_BYTES = 100 << 20
"""Maximum size of a file."""
MAX_DEPTH = 100
MAX_FAILURES = 20
"""Limit of failed tests listed by name; further ones are only counted."""
MAX_NAME = 300
PIECE = 64 << 10
LONGEST_REFERENCE = 12
"""Maximum length of a character reference, such as `&#x1b;`; one with more zeros is not recognised."""
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""Beginnings of files whose declaration does not count: a byte order mark, or a two-byte `<`."""
DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._:-]{0,40})["']""")
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
NOT_IN_XML_BY_NUMBER = re.compile("&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));")
REPLACEMENT = "\ufffd"
THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
NUMBER = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)


class BadJUnit(Exception):
    """The file is not JUnit XML."""


class _Counter:
    """expat's handlers. A test case counts once, by its worst outcome: error, failure, skipped."""

    def __init__(self) -> None:
        self.total = self.failed = self.errors = self.skipped = 0
        self.seconds = 0.0
        self.failures: list[str] = []
        self._depth = 0
        self._case: str | None = None
        self._verdict = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadJUnit(f"nested deeper than {MAX_DEPTH} elements")
        if self._depth == 1 and tag not in ("testsuites", "testsuite"):
            raise BadJUnit(f"the outermost element must be <testsuites> or <testsuite>, not <{tag[:80]}>")
        if tag == "testcase":
            parts = (attributes.get("classname", ""), attributes.get("name", ""))
            self._case = " ".join(".".join(part for part in parts if part).split())[:MAX_NAME] or "(no name)"
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
        if tag.rpartition(":")[2] != "testcase" or self._case is None:
            return
        self.total += 1
        self.failed += self._verdict == "failure"
        self.errors += self._verdict == "error"
        self.skipped += self._verdict == "skipped"
        if self._verdict in ("failure", "error") and len(self.failures) < MAX_FAILURES:
            self.failures.append(self._case)
        self._case = None

    def entity(self, *_: object) -> None:
        raise BadJUnit("entities are not allowed in a report")


def _seconds(text: str) -> float:
    """A number of seconds, also with a comma for thousands or before the decimals; 0 for anything else."""
    text = text.strip()
    text = text.replace(",", "" if THOUSANDS.fullmatch(text) else ".")
    number = NUMBER.match(text)
    seconds = float(number.group()) if number else 0.0
    return seconds if seconds < 1e9 else 0.0


def _encoding(start: bytes) -> str:
    """The text encoding of a file with this beginning."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    declared = DECLARED.match(start.lstrip())
    try:
        found = codecs.lookup(declared[1].decode() if declared else "utf-8")
        one = "<".encode(found.name)
    except (LookupError, UnicodeError):  # unknown, or not a text encoding
        return "utf-8"
    return found.name if one == b"<" else "utf-8"


def _text(stream: BinaryIO) -> Iterator[str]:
    """The text of a file, without characters that XML does not allow. Raises BadJUnit."""
    start = stream.read(PIECE)
    decoder = codecs.getincrementaldecoder(_encoding(start))("replace")
    left, kept, piece = MAX_BYTES, "", start.lstrip() if start.lstrip().startswith(b"<") else start
    while piece:
        left -= len(piece)
        if left < 0:
            raise BadJUnit(f"larger than {MAX_BYTES} bytes")
        text = kept + decoder.decode(piece)
        cut = text.rfind("&", -LONGEST_REFERENCE)
        kept = text[cut:] if cut >= 0 and ";" not in text[cut:] else ""
        yield _allowed(text[: len(text) - len(kept)])
        piece = stream.read(PIECE)
    yield _allowed(kept + decoder.decode(b"", True))


def _allowed(text: str) -> str:
    return NOT_IN_XML_BY_NUMBER.sub(REPLACEMENT, NOT_IN_XML.sub(REPLACEMENT, text))


def _read(stream: BinaryIO, counter: _Counter) -> None:
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = counter.start
    parser.EndElementHandler = counter.end
    parser.EntityDeclHandler = counter.entity
    empty = True
    try:
        for text in _text(stream):
            empty = empty and not text.strip()
            parser.Parse(text.encode(), False)
        if empty:
            raise BadJUnit("it is empty")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadJUnit(f"line {error.lineno}: {expat.errors.messages[error.code]}") from error


class JUnitReport(msgspec.Struct):
    """Summary of report files. `summary` is None if no file could be read; `odd` has the reasons, by file."""

    summary: JUnitSummary | None = None
    odd: list[str] = []


def parse_junit(files: Iterable[tuple[str, BinaryIO]]) -> JUnitReport:
    """The summary of report files, given as (name, stream); an unreadable one is skipped."""
    report = JUnitReport()
    total = _Counter()
    read = False
    for name, stream in files:
        counter = _Counter()
        try:
            _read(stream, counter)
        except BadJUnit as error:
            report.odd.append(f"{name}: {error}")
            continue
        read = True
        total.total += counter.total
        total.failed += counter.failed
        total.errors += counter.errors
        total.skipped += counter.skipped
        total.seconds += counter.seconds
        total.failures = (total.failures + counter.failures)[:MAX_FAILURES]
    if read:
        report.summary = JUnitSummary(
            total=total.total,
            failed=total.failed,
            errors=total.errors,
            skipped=total.skipped,
            seconds=round(total.seconds, 6),
            failures=total.failures,
        )
    return report
