"""Reads report files in XML without building a tree, so memory does not grow with the file. Pure: reads a stream.

The files come from jobs, so they are untrusted: entities are refused, nothing external is read, size and depth are
bounded. Careless files are still read: text in an encoding other than the declared one, characters that XML does not
allow.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO, Protocol
from xml.parsers import expat

from daemon.reports.files import BadReport

MAX_BYTES = 100 << 20
"""Maximum size of a file."""
MAX_DEPTH = 100
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


class Handler(Protocol):
    """Receives the elements of a file in order. Tags have no namespace prefix. Its methods may raise BadReport."""

    @property
    def roots(self) -> tuple[str, ...]:
        """The allowed tags of the outermost element."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def text(self, data: str) -> None:
        """A piece of text within the current element."""

    def end(self, tag: str) -> None:
        """An element ends."""


class _Elements:
    """expat's handlers: checks depth and outermost element."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadReport(f"nested deeper than {MAX_DEPTH} elements")
        roots = self._handler.roots
        if self._depth == 1 and tag not in roots:
            allowed = " or ".join(f"<{root}>" for root in roots)
            raise BadReport(f"the outermost element must be {allowed}, not <{tag[:80]}>")
        self._handler.start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._handler.end(tag.rpartition(":")[2])

    def entity(self, *_: object) -> None:
        raise BadReport("entities are not allowed in a report")


def read_xml(stream: BinaryIO, handler: Handler) -> None:
    """Passes a file's elements to `handler`. Raises BadReport."""
    elements = _Elements(handler)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = elements.start
    parser.EndElementHandler = elements.end
    parser.CharacterDataHandler = handler.text
    parser.EntityDeclHandler = elements.entity
    empty = True
    try:
        for text in _text(stream):
            empty = empty and not text.strip()
            parser.Parse(text.encode(), False)
        if empty:
            raise BadReport("it is empty")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BadReport(f"line {error.lineno}: {expat.errors.messages[error.code]}") from error


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
    """The text of a file, without characters that XML does not allow. Raises BadReport."""
    start = stream.read(PIECE)
    decoder = codecs.getincrementaldecoder(_encoding(start))("replace")
    left, kept, piece = MAX_BYTES, "", start.lstrip() if start.lstrip().startswith(b"<") else start
    while piece:
        left -= len(piece)
        if left < 0:
            raise BadReport(f"larger than {MAX_BYTES} bytes")
        text = kept + decoder.decode(piece)
        cut = text.rfind("&", -LONGEST_REFERENCE)
        kept = text[cut:] if cut >= 0 and ";" not in text[cut:] else ""
        yield _allowed(text[: len(text) - len(kept)])
        piece = stream.read(PIECE)
    yield _allowed(kept + decoder.decode(b"", True))


def _allowed(text: str) -> str:
    return NOT_IN_XML_BY_NUMBER.sub(REPLACEMENT, NOT_IN_XML.sub(REPLACEMENT, text))
