"""Workspaces and artifacts: files named by the sha256 of their content, uploaded in pieces and served in ranges.

A partial upload is a file too, so it goes on after a restart of either side, and several peers that upload the same
content help each other. What is complete is verified, synced and put in place by a thread of its own: the coordinator's
loop only ever copies a piece.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from coordinator.files.base import FinishedUpload
from coordinator.files.journal import sync_directory
from protocol.errors import ProtocolError
from protocol.keys import PRIVATE_DIRECTORY

DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """The blobs below `directory`. `wake` is called by the verifying thread when `finished` has something to give.

    Methods raise ProtocolError for what a peer did wrong, OSError for what the disk did.
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
        self._complete: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[FinishedUpload] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._verify_all, name="blob verifier", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; an upload that it had not verified yet is verified when it is next asked for."""
        self._complete.put(None)
        self._thread.join()

    def path(self, digest: str) -> Path:
        """Where the blob is, whether it is there or not."""
        if not DIGEST.fullmatch(digest):
            raise ProtocolError("bad_field", f"a digest is 64 lowercase hexadecimal digits, not {digest[:100]!r}")
        return self._directory / digest[:2] / digest

    def size(self, digest: str) -> int | None:
        """How large the blob is, or None if it is not (completely) there."""
        return _size(self.path(digest))

    def read(self, digest: str, offset: int, length: int) -> tuple[bytes, int]:
        """Bytes from `offset` on, at most `length`, and the blob's whole size."""
        if offset < 0 or length < 0:
            raise ProtocolError("bad_field", "offset and length are 0 or more")
        try:
            with self.path(digest).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return os.pread(file.fileno(), min(length, max(0, size - offset)), offset), size
        except FileNotFoundError:
            raise ProtocolError("not_found", f"no blob {digest} here (any more)") from None

    def put(self, digest: str, size: int, offset: int, data: bytes | memoryview) -> int | None:
        """Takes the bytes that continue an upload. Returns how many are there; None while all are being verified.

        A blob of another size than is sent was damaged, or who sends it is wrong: the verification tells which.
        """
        if size < 0 or offset < 0:
            raise ProtocolError("bad_field", "size and offset are 0 or more")
        if self.size(digest) == size:
            self.path(digest).touch()  # it is about to be used: see `discard`
            return size
        if digest in self._verifying:
            return None
        partial = self._partial / digest
        received = _size(partial) or 0
        if max(received, offset + len(data)) > size:
            raise ProtocolError("bad_request", f"more than the {size} bytes of blob {digest} were sent")
        known = received - offset
        if 0 <= known < len(data):
            received += _append(partial, received, memoryview(data)[known:])
        if received == size:
            if size == 0:
                partial.touch()
            self._verifying.add(digest)
            self._complete.put((digest, size))
            return None
        return received

    def discard(self, digest: str, young: float) -> bool:
        """Takes a blob away that no run refers to; False if it was put less than `young` seconds ago: one may come."""
        path = self.path(digest)
        if time.time() - path.stat().st_mtime < young:
            return False
        path.rename(self._trash / digest)  # to delete a large file takes time: whoever empties the trash has it
        return True

    def finished(self) -> list[FinishedUpload]:
        """Uploads that were verified since the last call."""
        found = []
        while not self._finished.empty():
            upload = self._finished.get()
            self._verifying.discard(upload.digest)
            found.append(upload)
        return found

    # the verifying thread

    def _verify_all(self) -> None:
        while (upload := self._complete.get()) is not None:
            digest, size = upload
            try:
                problem = self._verify(digest)
            except OSError as error:
                problem = ProtocolError("unavailable", f"blob {digest} can't be stored now: {error.strerror}")
            self._finished.put(FinishedUpload(digest, size, problem))
            self._wake()

    def _verify(self, digest: str) -> ProtocolError | None:
        partial = self._partial / digest
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != digest:
                partial.unlink()
                return ProtocolError(
                    "bad_request", f"what was sent as blob {digest} has the sha256 {found} and was thrown away"
                )
            os.fsync(file.fileno())
        place = self.path(digest)
        place.parent.mkdir(exist_ok=True)
        partial.replace(place)
        sync_directory(place.parent)
        sync_directory(self._directory)
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _append(path: Path, at: int, data: memoryview) -> int:
    """Writes at the file's end. Returns how much; a disk that fills up in the middle is noticed by the next piece."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        return os.pwrite(descriptor, data, at)
    finally:
        os.close(descriptor)
