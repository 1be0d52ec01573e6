"""A log is exactly the bytes that were printed, whatever is sent twice, torn by a crash or refused by the disk."""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.files.log_store import LogStore
from protocol.errors import ProtocolError
from protocol.log_times import LogPiece, Mark, marks_of_pages


def test_bytes_are_readable_once_they_are_flushed(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    assert logs.append("1.1", 0, b"hello ").data == b"hello "
    assert logs.append("1.1", 6, memoryview(b"world")).data == b"world"
    assert (logs.size("1.1"), logs.stored("1.1"), logs.read("1.1", 0, 100)) == (11, 0, b"")
    logs.flush()
    assert (logs.size("1.1"), logs.stored("1.1"), logs.read("1.1", 0, 100)) == (11, 11, b"hello world")
    assert logs.read("1.1", 4, 3) == b"o w"
    assert logs.read("1.1", 11, 3) == logs.read("1.1", 500, 3) == b""


def test_streams_and_attempts_are_kept_apart(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    for attempt, stream in [("1.1", "job"), ("1.1", "service-db"), ("1.1", "service-a.b"), ("1.10", "job")]:
        logs.append(attempt, 0, f"{attempt} {stream}".encode(), stream)
    logs.flush()
    assert logs.read("1.1", 0, 99) == b"1.1 job"
    assert logs.read("1.10", 0, 99) == b"1.10 job"
    assert logs.read("1.1", 0, 99, "service-db") == b"1.1 service-db"
    assert logs.streams("1.1") == ["job", "service-a.b", "service-db"]
    assert logs.streams("9.9") == ["job"]


@given(
    content=st.binary(min_size=1, max_size=200),
    pieces=st.lists(st.tuples(st.integers(0, 220), st.integers(0, 120), st.booleans()), max_size=30),
)
def test_any_order_of_pieces_stores_a_prefix_and_never_a_wrong_byte(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, pieces: list[tuple[int, int, bool]]
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    logs = LogStore(directory)
    taken = b""
    for offset, length, restarts in pieces:
        before = logs.size("1.1")
        piece = content[offset : offset + length]
        new = bytes(logs.append("1.1", offset, piece).data)
        taken += new
        assert logs.size("1.1") == (max(before, offset + len(piece)) if offset <= before else before) == len(taken)
        if restarts:
            logs.flush()
            logs = LogStore(directory)
    logs.flush()
    assert logs.read("1.1", 0, 1000) == taken == content[: len(taken)]


def test_what_a_power_cut_takes_from_a_file_is_put_back(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    logs.append("7.2", 0, b"0123456789")
    logs.append("8.1", 0, b"never to be seen")
    logs.flush()
    os.truncate(logs.path("7.2"), 4)
    os.unlink(logs.path("8.1"))
    logs = LogStore(tmp_path)
    assert logs.read("7.2", 0, 99) == b"0123456789"
    assert logs.read("8.1", 0, 99) == b"never to be seen"


def test_a_file_torn_by_a_crash_is_taken_up_where_it_ends(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    logs.append("7.2", 0, b"0123456789")
    logs.flush()
    logs.close()
    os.truncate(logs.path("7.2"), 4)
    logs = LogStore(tmp_path)
    assert logs.size("7.2") == 4
    assert logs.append("7.2", 8, b"89").data == b""
    assert logs.append("7.2", 2, b"23456789").data == b"456789"
    logs.flush()
    assert logs.read("7.2", 0, 99) == b"0123456789"


def test_a_flush_that_failed_half_way_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = LogStore(tmp_path)
    for job in (1, 2, 3):
        logs.append(f"{job}.1", 0, b"x" * 1000)
        logs.append(f"{job}.1", 1000, b"y" * 1000)
    real, calls = os.pwritev, []

    def fills_up(descriptor: int, pieces: list[bytes], at: int) -> int:
        calls.append(at)
        if len(calls) == 2:
            return real(descriptor, [b"".join(pieces)[:1500]], at)  # a short write, as when the disk is all but full
        return real(descriptor, pieces, at)

    def full(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fills_up)
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            logs.flush()
    assert logs.size("3.1") == 2000
    logs.flush()
    for job in (1, 2, 3):
        assert logs.read(f"{job}.1", 0, 5000) == b"x" * 1000 + b"y" * 1000


def test_more_pieces_than_one_system_call_takes_are_all_written(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    content = b"".join(b"%04d" % i for i in range(3000))
    for i in range(3000):
        logs.append("1.1", 4 * i, content[4 * i : 4 * i + 4])
    logs.flush()
    assert logs.read("1.1", 0, len(content)) == content


@pytest.mark.parametrize(
    ("attempt", "stream"),
    [
        ("../1.1", "job"),
        ("1.1/..", "job"),
        ("1", "job"),
        ("1.1\n", "job"),
        ("\N{ARABIC-INDIC DIGIT ONE}.1", "job"),
        ("1.1", "service-../../x"),
        ("1.1", "service-"),
        ("1.1", "other"),
        ("1.1", "job\n"),
    ],
)
def test_a_name_that_is_none_never_becomes_a_path(tmp_path: Path, attempt: str, stream: str) -> None:
    logs = LogStore(tmp_path)
    for use in (
        lambda: logs.append(attempt, 0, b"x", stream),
        lambda: logs.size(attempt, stream),
        lambda: logs.read(attempt, 0, 1, stream),
    ):
        with pytest.raises(ProtocolError):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["journal-1"]


T = 1_700_000_000_000


def times_of(logs: LogStore, attempt: str) -> list[int | None]:
    """The time of each byte of a log."""
    size = logs.stored(attempt)
    marks = marks_of_pages(logs.times(attempt, 0, size))
    at = [bisect_right(marks, offset, key=lambda each: each.offset) for offset in range(size)]
    return [marks[number - 1].at if number else None for number in at]


def test_each_byte_has_its_time_whatever_is_sent_twice(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    assert logs.append("1.1", 0, b"one\n", marks=[Mark(0, T)]) == LogPiece(0, b"one\n", [Mark(0, T)])
    logs.append("1.1", 0, b"one\n", marks=[Mark(0, T + 5)])
    piece = logs.append("1.1", 2, b"e\ntwo\n3", marks=[Mark(2, T + 6), Mark(6, T + 7)])
    assert (piece.offset, bytes(piece.data), piece.marks) == (4, b"two\n3", [Mark(4, T + 6), Mark(6, T + 7)])
    logs.append("1.1", 20, b"gap", marks=[Mark(20, T + 9)])
    assert logs.times("1.1", 0, 9) == b""
    logs.flush()
    logs.append("1.1", 9, b"!", marks=[Mark(9, T + 7)])
    logs.append("1.1", 10, b"?")
    logs.flush()
    assert times_of(logs, "1.1") == [T] * 4 + [T + 6] * 2 + [T + 7] * 5
    assert logs.times("2.1", 0, 9) == logs.times("1.1", 0, 9, "service-db") == b""


@given(
    tears=st.lists(
        st.tuples(st.integers(1, 200), st.sampled_from(["none", "kill", "cut", "zeros", "log"]), st.integers(0, 9_000)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=30)
def test_an_index_torn_by_a_crash_goes_on_with_the_right_times(
    tmp_path_factory: pytest.TempPathFactory, tears: list[tuple[int, str, int]]
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    index = directory / "0" / "1.1.job.times"
    logs = LogStore(directory)
    sure: dict[int, int] = {}  # times by byte, of those that no tear has reached
    for count, tear, amount in tears:
        begin = logs.stored("1.1")
        for at in range(begin, begin + 10 * count, 10):
            logs.append("1.1", at, b"123456789\n", marks=[Mark(at, T + at), Mark(at + 4, T + at + 4)])
            sure |= {at + into: T + at + (4 if into >= 4 else 0) for into in range(10)}
        logs.flush()
        if tear != "none":
            logs.close()
            size = index.stat().st_size
            if tear in ("cut", "zeros"):
                os.truncate(index, max(0, size - amount))
                sure = {}
            if tear == "zeros":
                os.truncate(index, size)
            if tear == "log":
                length = max(0, logs.stored("1.1") - amount // 10)
                os.truncate(logs.path("1.1"), length)
                sure = {offset: at for offset, at in sure.items() if offset < length}
            logs = LogStore(directory)
        told = times_of(logs, "1.1")
        assert {offset: told[offset] for offset in sure} == sure
