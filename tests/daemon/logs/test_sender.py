"""The log's way out: offsets, credit, and what is sent again."""

from __future__ import annotations

import threading

import pytest

from daemon.logs.sender import LogAborted, LogRestarted, LogSender
from protocol.names import CHUNK_BYTES


def sender(**settings: int) -> LogSender:
    return LogSender(lambda: None, **settings)


def test_bytes_are_kept_until_they_are_acknowledged() -> None:
    log = sender()
    log.write(b"one")
    log.write(b"two")
    assert log.take() == [(0, b"onetwo")]
    assert log.take() == []
    assert log.again() == [(0, b"onetwo")]
    assert log.acknowledge(4)
    assert log.again() == [(4, b"wo")]
    assert log.acknowledge(6)
    assert log.again() == []
    assert not log.unacknowledged


def test_a_resumed_log_counts_from_its_offset() -> None:
    log = sender(offset=100)
    log.write(b"x")
    assert log.take() == [(100, b"x")]
    assert log.end == 101


def test_acknowledgements_that_can_not_be_are_ignored() -> None:
    log = sender()
    log.write(b"abc")
    assert not log.acknowledge(3)  # not sent yet
    log.take()
    assert log.acknowledge(2)
    assert not log.acknowledge(1)
    assert not log.acknowledge(4)
    assert log.again() == [(2, b"c")]


def test_large_writes_leave_in_pieces_that_the_protocol_allows() -> None:
    log = sender()
    log.write(b"x" * (CHUNK_BYTES * 2 + 5))
    assert [(offset, len(data)) for offset, data in log.take()] == [
        (0, CHUNK_BYTES),
        (CHUNK_BYTES, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 5),
    ]


def test_a_writer_waits_when_the_window_is_full_and_goes_on_with_an_acknowledgement() -> None:
    log = sender(window=10)
    log.write(b"x" * 10)
    done = threading.Event()

    def write_more() -> None:
        log.write(b"y")
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
    log.write(b"x")
    raised: list[Exception] = []

    def write_more() -> None:
        try:
            log.write(b"y")
        except Exception as problem:
            raised.append(problem)

    thread = threading.Thread(target=write_more)
    thread.start()
    log.abort() if end == "abort" else log.restart(0)
    thread.join(60)
    assert [type(problem) for problem in raised] == [error]


def test_a_restarted_log_is_written_again_from_where_the_coordinator_stands() -> None:
    log = sender()
    log.write(b"onetwo")
    log.take()
    log.acknowledge(6)
    log.restart(3)
    with pytest.raises(LogRestarted):
        log.write(b"more")
    assert log.resume() == 3
    log.write(b"two")
    assert log.take() == [(3, b"two")]


def test_the_loop_is_woken_for_the_first_byte_and_for_a_full_frame_only() -> None:
    wakes: list[None] = []
    log = LogSender(lambda: wakes.append(None))
    for _ in range(100):
        log.write(b"x" * 1000)
    assert len(wakes) == 2
    log.take()
    log.write(b"x")
    assert len(wakes) == 3


def test_a_log_that_was_restarted_is_not_whole_before_it_was_written_again() -> None:
    sender = LogSender(lambda: None)
    sender.write(b"abc")
    assert sender.whole() == 3
    sender.restart(1)
    assert sender.whole() is None
    assert sender.resume() == 1
    sender.write(b"bc")
    assert sender.whole() == 3
