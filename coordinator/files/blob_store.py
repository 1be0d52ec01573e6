"""The blob store: workspaces and artifacts as files named by their sha256, uploaded in pieces and served in ranges.

A partial upload is a file too, so it resumes after a restart of either side, and several peers can upload the same
content together. A separate thread hashes and syncs uploads while they arrive, and moves complete ones into place: the
coordinator's loop only copies pieces.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from coordinator.files.base import FinishedUpload
from coordinator.files.journal import sync_directory
from protocol.errors import ProtocolError
from protocol.keys import PRIVATE_DIRECTORY
from protocol.names import DIGEST

READ_BYTES = 1 << 20
SYNC_BYTES = 64 << 20
"""Bytes of an upload after which they are synced: its sender waits only for the last sync."""
MOST_HASHED = 100
"""Limit of uploads in progress whose hashes are kept; others are hashed when they are complete."""


class BlobStore:
    """The blobs below `directory`. The verifying thread calls `wake` when `finished` has new results.

    Methods raise ProtocolError for a peer's mistakes, OSError for disk errors.
    """

    def __init__(self, directory: Path, wake: Callable[[], None]) -> None:
        self._directory = directory
        self._partial = directory / "partial"
        self._trash = directory / "trash"
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        self._partial.mkdir(exist_ok=True)
        self._trash.mkdir(exist_ok=True)
        self._wake = wake
        self._verifying: set[str] = set()
        self._hashes: dict[str, _Hash] = {}  # the thread's
        self._arrived: queue.SimpleQueue[_Arrived | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[FinishedUpload] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._verify_all, name="blob verifier", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the verifying thread; an unverified upload is verified when it is resumed."""
        self._arrived.put(None)
        self._thread.join()

    def path(self, digest: str) -> Path:
        """The path of a blob, whether or not it exists. Raises ProtocolError for a malformed digest."""
        if not DIGEST.fullmatch(digest):
            raise ProtocolError("bad_field", f"a digest is 64 lowercase hexadecimal digits, not {digest[:100]!r}")
        return self._directory / digest[:2] / digest

    def size(self, digest: str) -> int | None:
        """A blob's size; None if it is missing or incomplete."""
        return _size(self.path(digest))

    def claim(self, digest: str) -> int | None:
        """The same, and protects the blob from `discard` for a while: a run is about to refer to it."""
        with suppress(FileNotFoundError):
            os.utime(self.path(digest))
        return self.size(digest)

    def read(self, digest: str, offset: int, length: int) -> tuple[bytes, int]:
        """Up to `length` bytes from `offset` on, and the blob's total size."""
        if offset < 0 or length < 0:
            raise ProtocolError("bad_field", "offset and length are 0 or more")
        try:
            with self.path(digest).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return os.pread(file.fileno(), min(length, max(0, size - offset)), offset), size
        except FileNotFoundError:
            raise ProtocolError("not_found", f"no blob {digest}; it may have been removed") from None

    def put(self, digest: str, size: int, offset: int, data: bytes | memoryview) -> int | None:
        """Appends a piece to an upload. Returns the number of bytes received; None while the blob is being verified.

        If a stored blob has another size than `size`, it is damaged or the sender is wrong: verification decides.
        """
        if size < 0 or offset < 0:
            raise ProtocolError("bad_field", "size and offset are 0 or more")
        if self.size(digest) == size:
            return self.claim(digest)
        if digest in self._verifying:
            return None
        partial = self._partial / digest
        received = _size(partial) or 0
        if max(received, offset + len(data)) > size:
            raise ProtocolError("bad_request", f"received more than the {size} bytes of blob {digest}")
        known, before = received - offset, received
        if 0 <= known < len(data):
            received += _append(partial, received, memoryview(data)[known:])
        if received == size:
            if size == 0:
                partial.touch()
            self._verifying.add(digest)
        if received == size or received > before:
            self._arrived.put(_Arrived(digest, size, begins=before == 0, complete=received == size))
        return None if received == size else received

    def discard(self, digest: str, young: float) -> bool:
        """Moves an unreferenced blob to the trash; False if put less than `young` seconds ago: a run may follow."""
        path = self.path(digest)
        if time.time() - path.stat().st_mtime < young:
            return False
        path.rename(self._trash / digest)  # deleting a large file takes time, which the housekeeper's thread has
        return True

    def finished(self) -> list[FinishedUpload]:
        """Uploads verified since the last call."""
        found = []
        while not self._finished.empty():
            upload = self._finished.get()
            self._verifying.discard(upload.digest)
            found.append(upload)
        return found

    # the verifying thread

    def _verify_all(self) -> None:
        while (upload := self._arrived.get()) is not None:
            digest = upload.digest
            if upload.begins:  # again, perhaps: the earlier partial file was removed
                self._hashes.pop(digest, None)
            if not upload.complete:
                with suppress(OSError):  # gone or unreadable: the end will tell
                    self._advance(digest)
                continue
            try:
                problem = self._verify(digest)
            except OSError as error:
                problem = ProtocolError("unavailable", f"blob {digest} can't be stored now: {error.strerror}")
            self._finished.put(FinishedUpload(digest, upload.size, problem))
            self._wake()

    def _advance(self, digest: str) -> None:
        """Hashes and syncs the bytes that have arrived."""
        with (self._partial / digest).open("rb") as file:
            hashed = self._hashes.setdefault(digest, _Hash())
            hashed.read(file)
            if hashed.size - hashed.synced >= SYNC_BYTES:
                os.fdatasync(file.fileno())
                hashed.synced = hashed.size
        if len(self._hashes) > MOST_HASHED:
            del self._hashes[next(iter(self._hashes))]

    def _verify(self, digest: str) -> ProtocolError | None:
        partial = self._partial / digest
        hashed = self._hashes.pop(digest, None) or _Hash()
        with partial.open("rb") as file:
            hashed.read(file)
            found = hashed.hasher.hexdigest()
            if found != digest:
                partial.unlink()
                return ProtocolError(
                    "bad_request", f"the upload of blob {digest} has the sha256 {found} and was discarded"
                )
            os.fsync(file.fileno())
        place = self.path(digest)
        place.parent.mkdir(exist_ok=True)
        partial.replace(place)
        sync_directory(place.parent)
        sync_directory(self._directory)
        return None


class _Arrived(msgspec.Struct, frozen=True):
    """A piece of an upload of this whole `size`: its first one or its last one, perhaps."""

    digest: str
    size: int
    begins: bool
    complete: bool


class _Hash:
    """The hash of an upload's first `size` bytes, of which `synced` are on the disk."""

    def __init__(self) -> None:
        self.hasher = hashlib.sha256()
        self.size = self.synced = 0

    def read(self, file: BinaryIO) -> None:
        """Continues up to the file's end."""
        file.seek(self.size)
        while piece := file.read(READ_BYTES):
            self.hasher.update(piece)
            self.size += len(piece)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _append(path: Path, at: int, data: memoryview) -> int:
    """Writes at offset `at`. Returns the bytes written; a short write on a full disk surfaces with the next piece."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        return os.pwrite(descriptor, data, at)
    finally:
        os.close(descriptor)
