"""The log's way out: offsets, credit, and what is sent again."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from daemon.logs.sender import LogAborted, LogRestarted, LogSender
from protocol.codec import FLAT_MAP_BYTES
from protocol.log_times import MOST_MARKS, LogPiece, Mark, encode
from protocol.names import CHUNK_BYTES

READ_AT = 1_700_000_000.25
MARK = 1_700_000_000_250


def pieces(found: Sequence[LogPiece]) -> list[tuple[int, bytes]]:
    return [(piece.offset, bytes(piece.data)) for piece in found]


def sender(**settings: int) -> LogSender:
    return LogSender(lambda: None, **settings)


def test_bytes_are_kept_until_they_are_acknowledged() -> None:
    log = sender()
    log.write(b"one", READ_AT)
    log.write(b"two", READ_AT)
    assert pieces(log.take()) == [(0, b"onetwo")]
    assert pieces(log.take()) == []
    assert pieces(log.again()) == [(0, b"onetwo")]
    assert log.acknowledge(4)
    assert pieces(log.again()) == [(4, b"wo")]
    assert log.acknowledge(6)
    assert pieces(log.again()) == []
    assert not log.unacknowledged


def test_a_resumed_log_counts_from_its_offset() -> None:
    log = sender(offset=100)
    log.write(b"x", READ_AT)
    assert pieces(log.take()) == [(100, b"x")]
    assert log.end == 101


def test_acknowledgements_that_can_not_be_are_ignored() -> None:
    log = sender()
    log.write(b"abc", READ_AT)
    assert not log.acknowledge(3)  # not sent yet
    log.take()
    assert log.acknowledge(2)
    assert not log.acknowledge(1)
    assert not log.acknowledge(4)
    assert pieces(log.again()) == [(2, b"c")]


def test_large_writes_leave_in_pieces_that_the_protocol_allows() -> None:
    log = sender()
    log.write(b"x" * (CHUNK_BYTES * 2 + 5), READ_AT)
    assert [(piece.offset, len(piece.data)) for piece in log.take()] == [
        (0, CHUNK_BYTES),
        (CHUNK_BYTES, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 5),
    ]


def test_a_writer_waits_when_the_window_is_full_and_goes_on_with_an_acknowledgement() -> None:
    log = sender(window=10)
    log.write(b"x" * 10, READ_AT)
    done = threading.Event()

    def write_more() -> None:
        log.write(b"y", READ_AT)
        done.set()

    thread = threading.Thread(target=write_more)
    thread.start()
    log.take()
    assert not done.wait(0.1)
    log.acknowledge(1)
    assert done.wait(60)
    thread.join()


@pytest.mark.parametrize(("end", "error"), [("abort", LogAborted), ("restart", LogRestarted)])
def test_a_waiting_writer_is_freed_when_the_log_is_not_wanted_or_begins_again(end: str, error: type[Exception]) -> None:
    log = sender(window=1)
    log.write(b"x", READ_AT)
    raised: list[Exception] = []

    def write_more() -> None:
        try:
            log.write(b"y", READ_AT)
        except Exception as problem:
            raised.append(problem)

    thread = threading.Thread(target=write_more)
    thread.start()
    log.abort() if end == "abort" else log.restart(0)
    thread.join(60)
    assert [type(problem) for problem in raised] == [error]


def test_a_restarted_log_is_written_again_from_where_the_coordinator_stands() -> None:
    log = sender()
    log.write(b"onetwo", READ_AT)
    log.take()
    log.acknowledge(6)
    log.restart(3)
    with pytest.raises(LogRestarted):
        log.write(b"more", READ_AT)
    assert log.resume() == 3
    log.write(b"two", READ_AT)
    assert pieces(log.take()) == [(3, b"two")]


def test_the_loop_is_woken_for_the_first_byte_and_for_a_full_frame_only() -> None:
    wakes: list[None] = []
    log = LogSender(lambda: wakes.append(None))
    for _ in range(100):
        log.write(b"x" * 1000, READ_AT)
    assert len(wakes) == 2
    log.take()
    log.write(b"x", READ_AT)
    assert len(wakes) == 3


def test_a_log_that_was_restarted_is_not_whole_before_it_was_written_again() -> None:
    sender = LogSender(lambda: None)
    sender.write(b"abc", READ_AT)
    assert sender.whole() == 3
    sender.restart(1)
    assert sender.whole() is None
    assert sender.resume() == 1
    sender.write(b"bc", READ_AT)
    assert sender.whole() == 3


def test_bytes_travel_with_the_times_at_which_they_were_read() -> None:
    log = sender()
    log.write(b"one", READ_AT)
    log.write(b"two", READ_AT + 0.0001)  # the same millisecond
    log.write(b"three", READ_AT + 2)
    log.write(b"four", READ_AT - 3600)  # a clock that was set back
    marks = [Mark(0, MARK), Mark(6, MARK + 2000), Mark(11, MARK - 3_600_000)]
    assert [piece.marks for piece in log.take()] == [marks]
    log.acknowledge(8)
    assert [piece.marks for piece in log.again()] == [[Mark(8, MARK + 2000), marks[2]]]
    log.write(b"x", READ_AT - 3600)
    assert [piece.marks for piece in log.take()] == [[Mark(15, MARK - 3_600_000)]]


def test_every_chunk_knows_its_first_time_and_has_as_many_as_the_protocol_allows() -> None:
    log = sender(window=2 * CHUNK_BYTES)
    log.write(b"x" * (CHUNK_BYTES + 1), READ_AT)
    for number in range(MOST_MARKS + 1):
        log.write(b"y", READ_AT + 1 + number)
    chunks = log.take()
    assert [(piece.offset, len(piece.data), len(piece.marks)) for piece in chunks] == [
        (0, CHUNK_BYTES, 1),
        (CHUNK_BYTES, MOST_MARKS, MOST_MARKS),
        (CHUNK_BYTES + MOST_MARKS, 2, 2),
    ]
    assert [piece.marks[0].offset for piece in chunks] == [piece.offset for piece in chunks]
    assert all(len(encode(piece.marks, piece.offset)) < FLAT_MAP_BYTES // 2 for piece in chunks)
