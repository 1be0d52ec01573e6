"""Handles a coordinator's replies to clients over any socket: errors as exceptions, expected types, whole blobs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from protocol import messages as m
from protocol.errors import LongshoreError, UsageError
from protocol.names import CHUNK_BYTES

USER_ERRORS = frozenset({"not_found", "bad_request", "bad_field", "too_large", "forbidden", "revoked"})
"""Error codes caused by the caller."""

R = TypeVar("R", bound=m.Message)


def refusal(error: m.Error) -> LongshoreError:
    """The exception for an error reply: UsageError if the caller caused it."""
    return (UsageError if error.code in USER_ERRORS else LongshoreError)(error.message)


def expected(reply: m.Message, kind: type[R], request: type[m.Message], address: str) -> R:
    """The reply, if it is of the `kind` that answers a `request`. Raises LongshoreError."""
    if not isinstance(reply, kind):
        raise LongshoreError(f"{address} answered {request.__name__} with {type(reply).__name__}")
    return reply


class IncomingBlob:
    """A blob that arrives in order. It appears at `path` only once complete and verified.

    While not `complete`, request BlobGet with `next_piece`, and `take` the reply. Use in a `with` block.
    """

    def __init__(self, digest: str, path: Path, address: str) -> None:
        self._digest = digest
        self._path = path
        self._address = address
        self._partial = path.with_name(path.name + ".part")
        self._file: BinaryIO | None = None
        self._hasher = hashlib.sha256()
        self._offset = 0
        self.size: int | None = None  # known from the first reply on

    def __enter__(self) -> IncomingBlob:
        self._file = self._partial.open("wb")
        return self

    @property
    def complete(self) -> bool:
        """Whether all bytes have arrived."""
        return self.size is not None and self._offset >= self.size

    @property
    def arrived(self) -> int:
        """The bytes that have arrived so far."""
        return self._offset

    def next_piece(self) -> dict[str, Any]:
        """The fields of the next BlobGet."""
        return {"digest": self._digest, "offset": self._offset, "length": CHUNK_BYTES}

    def take(self, reply: m.Message, data: bytes | memoryview) -> None:
        """Appends a reply's bytes; moves the complete blob to its path. Raises LongshoreError if it is damaged."""
        assert self._file is not None
        answer = expected(reply, m.BlobData, m.BlobGet, self._address)
        if not data and answer.size > self._offset:
            raise LongshoreError(f"{self._address} sent no bytes of blob {self._digest}")
        self.size = answer.size
        self._file.write(data)
        self._hasher.update(data)
        self._offset += len(data)
        if self.complete:
            self._file.close()
            if self._hasher.hexdigest() != self._digest:
                raise LongshoreError(f"blob {self._digest} arrived damaged from {self._address}")
            self._partial.replace(self._path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._partial.unlink(missing_ok=True)
