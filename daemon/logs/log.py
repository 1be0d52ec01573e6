"""What the worker's core sees of a log on its way to the coordinator: offsets and chunks. Pure."""

from __future__ import annotations

from typing import Protocol

FLUSH_BYTES = 64 << 10
"""This many waiting bytes are worth a frame at once."""

Chunk = tuple[int, bytes]
"""Offset of the first byte, and the bytes."""


class Log(Protocol):
    """Bytes between the runner that writes them and the coordinator that stores them; `logs.sender` is the real one."""

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
        """How many bytes have not been sent."""

    @property
    def unacknowledged(self) -> bool:
        """Whether bytes were sent that are not acknowledged."""

    def take(self) -> list[Chunk]:
        """The bytes not sent yet, in chunks; they count as sent from now on."""

    def acknowledge(self, offset: int) -> bool:
        """Drops the bytes below `offset`, which the coordinator has stored. Returns whether that is news."""

    def again(self) -> list[Chunk]:
        """The bytes sent but not acknowledged, to be sent again."""

    def restart(self, offset: int) -> None:
        """Drops everything; the log will be read again from `offset`."""
