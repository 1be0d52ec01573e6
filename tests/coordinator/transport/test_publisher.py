"""The feed numbers what it announces, so that whoever lost something knows it, and waits for nobody."""

from __future__ import annotations

import msgspec
import pytest
import zmq

from coordinator.transport.publisher import LOG_PIECE, Publisher
from protocol.errors import UsageError
from protocol.events import STATE_TOPIC, LogAppended, RunRemoved, log_topic
from protocol.feed_subscription import Feed as Subscriber
from protocol.log_times import LogPiece, Mark, decode
from tests.support.eventually import DEADLINE


@pytest.fixture
def feed(context: zmq.Context[zmq.Socket[bytes]]) -> Publisher:
    return Publisher(context, "tcp://127.0.0.1:0")


def subscribe(context: zmq.Context[zmq.Socket[bytes]], feed: Publisher, topic: bytes) -> Subscriber:
    """A subscriber whose subscription has arrived."""
    subscriber = Subscriber(context, feed.address)
    subscriber.subscribe(topic)
    assert feed.socket.poll(int(DEADLINE * 1000))
    feed.receive_subscriptions()
    return subscriber


def test_events_have_numbers_without_gaps_and_the_epoch(
    context: zmq.Context[zmq.Socket[bytes]], feed: Publisher
) -> None:
    subscriber = subscribe(context, feed, b"state")
    for run in (7, 8, 9):
        feed.publish(RunRemoved(run=run))
    got = [subscriber.receive(DEADLINE) for _ in range(3)]
    assert [event for event, _ in filter(None, got)] == [
        RunRemoved(epoch=feed.epoch, seq=seq, run=run) for seq, run in enumerate((7, 8, 9), start=1)
    ]


def test_events_of_a_turn_come_one_by_one_though_they_share_frames(
    context: zmq.Context[zmq.Socket[bytes]], feed: Publisher
) -> None:
    subscriber = subscribe(context, feed, b"state")
    feed.publish(*(RunRemoved(run=run) for run in range(1000)))
    got = [subscriber.receive(DEADLINE) for _ in range(1000)]
    assert [event for event, _ in filter(None, got)] == [
        RunRemoved(epoch=feed.epoch, seq=run + 1, run=run) for run in range(1000)
    ]
    assert subscriber.receive(0) is None


def test_a_beacon_tells_the_newest_number_each_second_and_takes_none(
    context: zmq.Context[zmq.Socket[bytes]], feed: Publisher
) -> None:
    subscriber = subscribe(context, feed, b"state")
    feed.publish(RunRemoved(run=1))
    feed.beat(100.0)
    feed.beat(100.9)
    assert feed.next_beacon == 101.0
    feed.beat(101.0)
    feed.publish(RunRemoved(run=2))
    events = [event for event, _ in filter(None, (subscriber.receive(DEADLINE) for _ in range(4)))]
    assert [type(event).__name__ for event in events] == ["RunRemoved", "Beacon", "Beacon", "RunRemoved"]
    assert [event.seq for event in events] == [1, 1, 1, 2]


def test_log_bytes_reach_only_those_who_watch_the_log(context: zmq.Context[zmq.Socket[bytes]], feed: Publisher) -> None:
    watcher = subscribe(context, feed, log_topic("1.1"))
    feed.publish_log("1.10", "job", LogPiece(0, b"not this"))
    feed.publish_log("1.1", "job", LogPiece(5, b"this"))
    feed.publish_log_end("1.1", "job", 9)
    assert watcher.receive(DEADLINE) == (LogAppended(epoch=feed.epoch, attempt="1.1", offset=5), b"this")
    assert watcher.receive(DEADLINE) == (LogAppended(epoch=feed.epoch, attempt="1.1", offset=9, complete=True), b"")
    assert feed.is_watched("1.1")
    assert not feed.is_watched("1.10")


def test_large_log_pieces_are_cut_with_right_offsets(context: zmq.Context[zmq.Socket[bytes]], feed: Publisher) -> None:
    watcher = subscribe(context, feed, log_topic("1.1"))
    data = bytes(range(256)) * (LOG_PIECE // 100)
    marks = [Mark(1000 + 7 * number, 1_700_000_000_000 + number) for number in range(len(data) // 7)]
    feed.publish_log("1.1", "job", LogPiece(1000, data, marks))
    times: list[Mark] = []
    got, expected = b"", 1000
    while len(got) < len(data):
        received = watcher.receive(DEADLINE)
        assert received is not None
        event, piece = received
        assert isinstance(event, LogAppended)
        assert event.offset == expected
        assert len(piece) <= LOG_PIECE
        times += decode(event.times, event.offset, len(piece))
        assert times[-1].offset < event.offset + len(piece)
        got, expected = got + bytes(piece), expected + len(piece)
    assert got == data
    assert [each for each in times if each in marks] == marks


def test_a_log_that_nobody_watches_any_more_costs_nothing(
    context: zmq.Context[zmq.Socket[bytes]], feed: Publisher
) -> None:
    watcher = subscribe(context, feed, log_topic("1.1"))
    assert feed.is_watched("1.1")
    watcher.unsubscribe(log_topic("1.1"))
    assert feed.socket.poll(int(DEADLINE * 1000))
    feed.receive_subscriptions()
    assert not feed.is_watched("1.1")


def test_a_subscriber_that_does_not_read_holds_nobody_up_and_sees_its_gap(
    context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.transport.publisher.BACKLOG", 50)
    feed = Publisher(context, "tcp://127.0.0.1:0")
    slow = context.socket(zmq.SUB)
    slow.set(zmq.RCVHWM, 10)
    slow.set(zmq.RCVBUF, 4096)
    slow.connect(feed.address)
    slow.subscribe(b"")
    assert feed.socket.poll(int(DEADLINE * 1000))
    feed.receive_subscriptions()
    more_than_the_kernel_buffers = 64 << 20
    for run in range(more_than_the_kernel_buffers // LOG_PIECE):
        feed.publish(RunRemoved(run=run))
        feed.publish_log("1.1", "job", LogPiece(run * LOG_PIECE, bytes(LOG_PIECE)))
    numbers = []
    while slow.poll(300):
        topic, body, *_ = slow.recv_multipart()
        if topic == STATE_TOPIC:
            numbers.append(msgspec.msgpack.decode(body)["seq"])
    feed.close()
    assert numbers[0] == 1
    assert len(numbers) < feed.seq
    assert numbers == sorted(set(numbers))


def test_each_start_is_a_new_epoch(context: zmq.Context[zmq.Socket[bytes]], feed: Publisher) -> None:
    assert Publisher(context, "tcp://127.0.0.1:0").epoch != feed.epoch


def test_an_address_that_is_taken_is_one_clear_line(context: zmq.Context[zmq.Socket[bytes]], feed: Publisher) -> None:
    with pytest.raises(UsageError, match=r"can't listen at 'tcp://127\.0\.0\.1:.*in use"):
        Publisher(context, feed.address)
