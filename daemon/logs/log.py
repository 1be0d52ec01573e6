"""The worker core's view of a log in transfer to the coordinator: offsets, bytes and their times. Pure."""

from __future__ import annotations

from typing import Protocol

from protocol.log_times import LogPiece

FLUSH_BYTES = 64 << 10
"""Unsent bytes that justify a frame at once."""


class Log(Protocol):
    """Bytes between the runner that writes them and the coordinator that stores them; implemented by `logs.sender`."""

    @property
    def end(self) -> int:
        """The offset after the last byte written."""

    @property
    def sent(self) -> int:
        """The offset after the last byte sent."""

    @property
    def acknowledged(self) -> int:
        """The offset below which the coordinator has stored everything."""

    @property
    def waiting(self) -> int:
        """Number of unsent bytes."""

    @property
    def unacknowledged(self) -> bool:
        """Whether sent bytes are unacknowledged."""

    def take(self) -> list[LogPiece]:
        """The unsent bytes, in chunks; they count as sent from now on."""

    def acknowledge(self, offset: int) -> bool:
        """Drops the bytes below `offset`, which the coordinator has stored. Returns whether that is progress."""

    def again(self) -> list[LogPiece]:
        """The sent but unacknowledged bytes, to be resent."""

    def restart(self, offset: int) -> None:
        """Drops everything; the log will be read again from `offset`."""
