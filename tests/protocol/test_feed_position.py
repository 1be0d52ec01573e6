"""The position in the feed, which all followers share: no event is skipped, none is applied twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.events import Beacon, RunRemoved
from protocol.feed_position import FeedPosition, Verdict


def at(seq: int) -> FeedPosition:
    """A position in epoch `a`."""
    position = FeedPosition()
    position.restart("a", seq)
    return position


def test_the_next_event_moves_the_position() -> None:
    position = at(10)
    assert position.place(RunRemoved(epoch="a", seq=11, run=1)) is Verdict.APPLIED
    assert position.seq == 11


def test_an_event_of_another_epoch_is_a_gap_whatever_its_number() -> None:
    position = at(10)
    assert {position.place(RunRemoved(epoch="b", seq=seq, run=1)) for seq in (9, 10, 11)} == {Verdict.GAP}
    assert (position.epoch, position.seq) == ("a", 10)


def test_a_beacon_ahead_shows_a_gap_and_never_moves_the_position() -> None:
    position = at(10)
    assert position.place(Beacon(epoch="a", seq=10)) is Verdict.OLD
    assert position.place(Beacon(epoch="a", seq=11)) is Verdict.GAP
    assert position.seq == 10


@given(st.lists(st.integers(1, 8), max_size=60))
def test_only_consecutive_events_are_applied_in_whatever_order_they_arrive(arriving: list[int]) -> None:
    position = at(0)
    applied = [seq for seq in arriving if position.place(RunRemoved(epoch="a", seq=seq, run=1)) is Verdict.APPLIED]
    assert applied == list(range(1, len(applied) + 1))
