"""A reader's position in the coordinator's feed: distinguishes the next event, old events and gaps. Pure."""

from __future__ import annotations

from enum import Enum

from protocol.events import Beacon, Event


class Verdict(Enum):
    """An event's relation to the position."""

    APPLIED = "applied"  # the next one: the position has moved past it
    OLD = "old"  # already contained in the state
    GAP = "gap"  # it, or one before it, requires a new snapshot


class FeedPosition:
    """The newest event that a reader's state contains. A beacon has no number of its own: it is old, or shows a gap."""

    def __init__(self) -> None:
        self.epoch = ""
        self.seq = 0

    def restart(self, epoch: str, seq: int) -> None:
        """Takes a snapshot's position."""
        self.epoch, self.seq = epoch, seq

    def place(self, event: Event) -> Verdict:
        """Compares a state event with the position; moves past the next one."""
        if event.epoch != self.epoch:
            return Verdict.GAP
        if event.seq <= self.seq:
            return Verdict.OLD
        if isinstance(event, Beacon) or event.seq > self.seq + 1:
            return Verdict.GAP
        self.seq = event.seq
        return Verdict.APPLIED
