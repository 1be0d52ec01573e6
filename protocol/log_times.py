"""Times of a log's bytes: marks, their compact encoding, and the pages of the index beside a stored log. Pure.

A mark says from which byte on a log was read at which time, up to the next mark. Between processes, marks travel with
the bytes (`encode`). On disk they are in pages (`IndexEnd`), each of which can be read by itself: a page begins with a
whole mark, and the following ones are differences.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

PAGE_BYTES = 4 << 10
"""Size of an index's pages: thousands of marks, in one read."""
PAGE_HEAD = struct.Struct("<QQ")
"""A page's first mark."""
MOST_MARKS = 4096
"""Maximum marks of one log chunk, whose map must stay small."""
LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999: later times can't be written as a date."""
MOST_BITS = 64


class Mark(NamedTuple):
    """The bytes from `offset` on were read at `at`, in milliseconds since 1970."""

    offset: int
    at: int


class LogPiece(NamedTuple):
    """Consecutive bytes of a log from `offset` on, with their marks; no marks if the times are unknown."""

    offset: int
    data: bytes | memoryview
    marks: Sequence[Mark] = ()

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)

    def since(self, offset: int) -> LogPiece:
        """The rest from `offset` on, a byte of the piece or its end."""
        data = memoryview(self.data)[offset - self.offset :]
        return LogPiece(offset, bytes(data), within(self.marks, offset, self.end))


def mark(offset: int, seconds: float) -> Mark:
    """The mark of bytes that were read `seconds` after 1970."""
    return Mark(offset, min(max(1, int(seconds * 1000)), LATEST))


def stamp(at: int) -> str:
    """A mark's time by RFC 3339: UTC, with milliseconds."""
    seconds, thousandths = divmod(at, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{thousandths:03d}Z"


def within(marks: Sequence[Mark], start: int, end: int) -> list[Mark]:
    """The marks of the bytes from `start` to `end`, the first one at `start` if its time is known."""
    found = [each for each in marks if start < each.offset < end]
    before = [each for each in marks if each.offset <= start]
    return [Mark(start, before[-1].at), *found] if before and start < end else found


def encode(marks: Sequence[Mark], offset: int) -> bytes:
    """Marks of bytes from `offset` on."""
    packed = bytearray()
    before = Mark(offset, 0)
    for each in marks:
        _put_difference(packed, before, each)
        before = each
    return bytes(packed)


def decode(packed: bytes | memoryview, offset: int, length: int) -> list[Mark]:
    """The marks of `length` bytes from `offset` on.

    Raises ValueError unless they are in order and among these bytes.
    """
    marks: list[Mark] = []
    taken = 0
    for each, end in _differences(packed, 0, Mark(offset, 0)):
        if marks and each.offset <= marks[-1].offset:
            raise ValueError("the times of a log are in the order of its bytes")
        marks.append(each)
        taken = end
    if taken != len(packed):
        raise ValueError("the times of a log are malformed")
    if marks and marks[-1].offset >= offset + length:
        raise ValueError("a time is beyond the last byte")
    return marks


# pages


class IndexEnd(msgspec.Struct):
    """The end of an index: its `size` in bytes, and the last mark in it."""

    size: int = 0
    last: Mark | None = None

    def append(self, marks: Sequence[Mark]) -> bytes:
        """The bytes to append for these marks. Those without news are left out."""
        packed = bytearray()
        for each in marks:
            if self.last is not None and (each.at == self.last.at or each.offset <= self.last.offset):
                continue
            difference = bytearray()
            if self.last is not None:
                _put_difference(difference, self.last, each)
            used = self.size % PAGE_BYTES
            if used == 0 or used + len(difference) > PAGE_BYTES:
                filler = -used % PAGE_BYTES
                difference = bytearray(filler) + PAGE_HEAD.pack(each.offset, each.at)
            packed += difference
            self.size += len(difference)
            self.last = each
        return bytes(packed)


def first_mark(page: bytes | memoryview) -> Mark | None:
    """A page's first mark; None if the page is torn."""
    if len(page) < PAGE_HEAD.size:
        return None
    found = Mark(*PAGE_HEAD.unpack_from(page))
    return found if 0 < found.at <= LATEST else None


def marks_of_page(page: bytes | memoryview) -> Iterator[tuple[Mark, int]]:
    """Yields a page's marks, each with its end in the page, up to the filler or a torn mark."""
    first = first_mark(page)
    if first is None:
        return
    yield first, PAGE_HEAD.size
    before = first
    for each, end in _differences(page[:PAGE_BYTES], PAGE_HEAD.size, first):
        if each.offset <= before.offset:
            return
        yield each, end
        before = each


def marks_of_pages(pages: bytes | memoryview) -> list[Mark]:
    """The marks of consecutive pages."""
    return [
        each
        for start in range(0, len(pages), PAGE_BYTES)
        for each, _ in marks_of_page(pages[start : start + PAGE_BYTES])
    ]


# numbers of variable length: seven bits a byte, the lowest first; a set eighth bit: more follow


def _put_difference(packed: bytearray, before: Mark, after: Mark) -> None:
    _put(packed, after.offset - before.offset)
    later = after.at - before.at
    _put(packed, 2 * later if later >= 0 else -2 * later - 1)


def _put(packed: bytearray, number: int) -> None:
    while number > 127:
        packed.append(number & 127 | 128)
        number >>= 7
    packed.append(number)


def _differences(packed: bytes | memoryview, start: int, before: Mark) -> Iterator[tuple[Mark, int]]:
    """Yields marks, each with its end in `packed`, up to one that is cut off or is no mark."""
    offset, at = before
    numbers: list[int] = []
    number = shift = 0
    for position in range(start, len(packed)):
        byte = packed[position]
        number |= (byte & 127) << shift
        shift += 7
        if shift > MOST_BITS:
            return
        if byte < 128:
            numbers.append(number)
            number = shift = 0
            if len(numbers) == 2:
                ahead, later = numbers
                offset += ahead
                at += -(later + 1 >> 1) if later & 1 else later >> 1
                if not 0 < at <= LATEST:
                    return
                yield Mark(offset, at), position + 1
                numbers.clear()
