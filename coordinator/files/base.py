"""Protocols of the log store and the blob store; the implementations beside this module keep files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from protocol.errors import ProtocolError
from protocol.log_times import LogPiece, Mark

Bytes = bytes | memoryview


class Logs(Protocol):
    """Logs of attempts, each an append-only stream of bytes. `log_store` keeps them in files."""

    def size(self, attempt: str, stream: str = "job") -> int:
        """A log's length, including appended bytes that are not durable yet."""

    def stored(self, attempt: str, stream: str = "job") -> int:
        """A log's durable length."""

    def streams(self, attempt: str) -> list[str]:
        """The streams of an attempt: `job`, and one per service with a log."""

    def services(self, attempt: str) -> list[str]:
        """The names of an attempt's services with a log."""

    def append(
        self, attempt: str, offset: int, data: Bytes, stream: str = "job", marks: Sequence[Mark] = ()
    ) -> LogPiece:
        """Appends bytes that start at `offset`, with their times.

        Returns the new part; it is empty if it would leave a gap.
        """

    def flush(self) -> None:
        """Makes appended bytes durable. Raises OSError; unwritten bytes are kept for the next call."""

    def read(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        """Up to `length` durable bytes from `offset` on."""

    def times(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        """The pages of the log's index that cover `length` bytes from `offset` on; empty if it has no times."""

    def since(self, attempt: str, at: int, stream: str = "job") -> int | None:
        """The offset of a log's first byte that was read at this time (milliseconds since 1970) or later, if any."""

    def close(self) -> None:
        """Releases all resources."""


class FinishedUpload(msgspec.Struct, frozen=True):
    """A verified upload; `problem` is set if it was rejected."""

    digest: str
    size: int
    problem: ProtocolError | None = None


class Blobs(Protocol):
    """Content by its SHA-256 digest: workspaces, artifacts, reports. `blob_store` keeps them in files."""

    def size(self, digest: str) -> int | None:
        """A blob's size; None if it is missing or incomplete."""

    def claim(self, digest: str) -> int | None:
        """The same, and protects the blob from removal for a while: a run is about to refer to it."""

    def read(self, digest: str, offset: int, length: int) -> tuple[bytes, int]:
        """Up to `length` bytes from `offset` on, and the blob's size. Raises ProtocolError (not_found)."""

    def put(self, digest: str, size: int, offset: int, data: Bytes) -> int | None:
        """Stores a piece. Returns the number of bytes received so far; None while the blob is being verified."""

    def finished(self) -> list[FinishedUpload]:
        """Uploads verified since the last call."""

    def close(self) -> None:
        """Releases all resources."""
