"""What the coordinator needs of a keeper of logs and of blobs. Files beside the database are one; knows none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from protocol.errors import ProtocolError

Bytes = bytes | memoryview


class Logs(Protocol):
    """Logs of attempts, each an append-only stream of bytes. `log_store` keeps them in files."""

    def size(self, attempt: str, stream: str = "job") -> int:
        """How many bytes a log will have once everything appended is stored."""

    def stored(self, attempt: str, stream: str = "job") -> int:
        """How many of its bytes are durable."""

    def streams(self, attempt: str) -> list[str]:
        """The logs that an attempt has: `job`, and one per service."""

    def services(self, attempt: str) -> list[str]:
        """The services of an attempt that have a log."""

    def append(self, attempt: str, offset: int, data: Bytes, stream: str = "job") -> Bytes:
        """Takes bytes that begin at `offset`. Returns those of them that are new; with a gap before them, none."""

    def flush(self) -> None:
        """Makes everything appended durable. Raises OSError; what was appended then waits for the next call."""

    def read(self, attempt: str, offset: int, length: int, stream: str = "job") -> bytes:
        """Up to `length` durable bytes from `offset` on."""

    def close(self) -> None:
        """Lets go of what is open."""


@dataclass(frozen=True, slots=True)
class FinishedUpload:
    """An upload that was verified; `problem` says why it is no blob, if it is none."""

    digest: str
    size: int
    problem: ProtocolError | None = None


class Blobs(Protocol):
    """Content by its SHA-256 digest: workspaces, artifacts, reports. `blob_store` keeps them in files."""

    def size(self, digest: str) -> int | None:
        """How many bytes a blob has; None if it is not there, or not all of it."""

    def read(self, digest: str, offset: int, length: int) -> tuple[bytes, int]:
        """Up to `length` bytes from `offset` on, and the blob's size. Raises ProtocolError (not_found)."""

    def put(self, digest: str, size: int, offset: int, data: Bytes) -> int | None:
        """Takes a piece. Returns how many bytes are there now; None while the whole is being verified."""

    def finished(self) -> list[FinishedUpload]:
        """Uploads that were verified since the last call."""

    def close(self) -> None:
        """Lets go of what is open."""
