"""Times of a log's bytes come back as they were, from messages and from the pages of an index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.log_times import (
    LATEST,
    PAGE_BYTES,
    IndexEnd,
    LogPiece,
    Mark,
    decode,
    encode,
    mark,
    marks_of_page,
    marks_of_pages,
    stamp,
    within,
)

NOW = 1_700_000_000_123
MARKS = st.lists(st.tuples(st.integers(1, 100_000), st.integers(1, LATEST)), min_size=1, max_size=50).map(
    lambda steps: [Mark(sum(ahead for ahead, _ in steps[: at + 1]), when) for at, (_, when) in enumerate(steps)]
)


@given(marks=MARKS)
def test_a_message_has_the_times_of_its_bytes(marks: list[Mark]) -> None:
    start, end = marks[0].offset, marks[-1].offset + 1
    assert decode(encode(marks, start), start, end - start) == marks


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (encode([Mark(5, NOW), Mark(9, NOW)], 5), "beyond"),
        (encode([Mark(5, NOW), Mark(6, NOW)], 5)[:-1] + b"\x80", "malformed"),
        (encode([Mark(5, NOW)], 5)[:-1], "malformed"),
        (encode([Mark(5, NOW), Mark(5, NOW + 1)], 5), "order"),
        (b"\x00\x01", "malformed"),  # before 1970
        (b"\xff" * 100, "malformed"),
        (encode([Mark(5, LATEST)], 5) + b"\x01\x02", "malformed"),  # after the year 9999
    ],
)
def test_times_that_can_not_be_are_refused(packed: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(packed, 5, 4)


@given(packed=st.binary(max_size=40), length=st.integers(0, 50))
def test_whatever_arrives_is_decoded_or_refused(packed: bytes, length: int) -> None:
    try:
        marks = decode(packed, 0, length)
    except ValueError:
        return
    assert all(0 <= each.offset < length and 0 < each.at <= LATEST for each in marks)


@given(parts=st.lists(MARKS, max_size=4), start=st.integers(0, 1000), cut=st.integers(0, 300))
def test_an_index_has_the_times_of_every_part_of_it(parts: list[list[Mark]], start: int, cut: int) -> None:
    """Also of one that is torn: then up to there."""
    end = IndexEnd()
    index = b""
    told: dict[int, int] = {}
    before = -1
    for part in parts:
        shifted = [Mark(before + 1 + each.offset, each.at) for each in part]
        index += end.append(shifted)
        told |= dict(shifted)
        before = shifted[-1].offset
    assert end.size == len(index)
    found = marks_of_pages(index)
    assert [each.at for each in found] == [
        at for number, at in enumerate(told.values()) if not number or at != list(told.values())[number - 1]
    ]
    assert dict(found).items() <= told.items()
    assert marks_of_pages(index[: len(index) - cut]) == found[: len(marks_of_pages(index[: len(index) - cut]))]


def test_each_page_is_read_by_itself_and_a_line_takes_few_bytes_of_it() -> None:
    end = IndexEnd()
    marks = [Mark(72 * number, NOW + 3 * number) for number in range(10_000)]
    index = b"".join(end.append([each]) for each in marks)
    assert marks_of_pages(index) == marks
    pages = [list(marks_of_page(index[at : at + PAGE_BYTES])) for at in range(0, len(index), PAGE_BYTES)]
    assert sum(map(len, pages)) == len(marks)
    assert len(index) < 0.05 * 72 * len(marks)
    torn = index[:PAGE_BYTES] + bytes(PAGE_BYTES) + index[2 * PAGE_BYTES :]
    assert marks_of_pages(torn) == [each for number, page in enumerate(pages) if number != 1 for each, _ in page]


def test_a_part_of_the_bytes_begins_with_the_time_in_effect() -> None:
    marks = [Mark(10, NOW), Mark(20, NOW + 1), Mark(30, NOW + 2)]
    assert within(marks, 10, 30) == marks[:2]
    assert within(marks, 15, 20) == [Mark(15, NOW)]
    assert within(marks, 0, 12) == [marks[0]]
    assert within(marks, 35, 36) == [Mark(35, NOW + 2)]
    assert LogPiece(10, b"0123456789x", marks[:2]).since(18) == LogPiece(18, b"89x", [Mark(18, NOW), marks[1]])


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert stamp(mark(0, 1_700_000_000.1234).at) == "2023-11-14T22:13:20.123Z"
    assert stamp(mark(0, 1e300).at) == "9999-12-31T23:59:59.999Z"
    assert stamp(mark(0, -5).at) == "1970-01-01T00:00:00.001Z"
