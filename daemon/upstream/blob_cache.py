"""Size-bounded cache of blobs on this host by their sha256: workspaces and artifacts. Knows no network.

Several workers may share a directory: files appear by rename, complete and verified. A job pins the files that it uses
with hard links of its own; a file with more than one link is never evicted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import BinaryIO
from uuid import uuid4

from daemon.runtime.eviction import Entry, evict
from protocol.keys import PRIVATE_DIRECTORY
from protocol.names import DIGEST

STALE_PARTIAL = 24 * 3600.0
"""Age in seconds after which a partial file is the leftover of a crashed process."""


class Corrupt(Exception):
    """Bytes do not match their digest."""


class Partial:
    """A blob in transfer: write it in order, then `pin` it. Leaving the `with` block without a pin removes it."""

    def __init__(self, cache: BlobCache, digest: str) -> None:
        self._cache = cache
        self._digest = digest
        self._path = cache.partial_path()
        self._file: BinaryIO = self._path.open("xb")
        self._hasher = hashlib.sha256()

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, data: bytes | memoryview) -> None:
        """Appends bytes."""
        self._file.write(data)
        self._hasher.update(data)

    def pin(self, attempt: str) -> Path:
        """Moves the blob into the cache, pinned for `attempt`. Raises Corrupt."""
        self._file.close()
        if self._hasher.hexdigest() != self._digest:
            raise Corrupt(f"blob {self._digest} does not match its digest")
        return self._cache.adopt(attempt, self._digest, self._path)


class BlobCache:
    """The cache in `directory`, of at most `limit` bytes; evicts entries unused for `keep_for` seconds.

    `owner` is the worker's name, unique on this host.
    """

    def __init__(self, directory: Path, limit: int, owner: str, keep_for: float | None = None) -> None:
        self._blobs = directory / "blobs"
        self._partial = directory / "partial"
        self._jobs = directory / "jobs" / owner
        self._limit = limit
        self._keep_for = keep_for
        self._lock = Lock()
        self._held: set[str] = set()  # attempts with a directory here
        self._size: int | None = None  # this process's estimate; recounted when it exceeds the limit
        directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        for path in (self._blobs, self._partial, self._jobs):
            path.mkdir(parents=True, exist_ok=True)

    def clean_up(self) -> None:
        """At the start: removes leftovers of earlier processes of this worker."""
        for path in self._jobs.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        for path in self._partial.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_PARTIAL:
                    path.unlink()

    def partial_path(self) -> Path:
        """A fresh path for a file that may become a blob."""
        self._partial.mkdir(parents=True, exist_ok=True)  # the cache may have been emptied by hand
        return self._partial / uuid4().hex

    def pin(self, attempt: str, digest: str, size: int | None = None) -> Path | None:
        """The blob's file, pinned for `attempt` until `release`; None if absent. `size` detects damage."""
        path = self._path(digest)
        try:
            pinned = self._link(attempt, digest, path)
            if not pinned.is_file() or (size is not None and pinned.stat().st_size != size):
                pinned.unlink()
                path.unlink(missing_ok=True)
                return None
            os.utime(pinned)
        except OSError:  # absent, or no file: a new one replaces it
            return None
        return pinned

    def scratch(self, attempt: str) -> Path:
        """A directory for an attempt's files, on the cache's file system, so that they can be adopted."""
        return self._directory(attempt, "scratch")

    def checkout(self, attempt: str) -> Path:
        """A directory for what an attempt uses of the checkouts' store, which is on the cache's file system."""
        return self._directory(attempt, "checkout")

    def drop(self, attempt: str, digest: str) -> None:
        """Removes a blob that was put elsewhere, and its pin; pins of other attempts stay."""
        for path in (self._path(digest), self._jobs / attempt / "pins" / digest):
            path.unlink(missing_ok=True)

    def _directory(self, attempt: str, name: str) -> Path:
        path = self._jobs / attempt / name
        self._held.add(attempt)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def release(self, attempt: str) -> None:
        """Removes all pins of an attempt, and its directories."""
        if attempt in self._held:
            shutil.rmtree(self._jobs / attempt, ignore_errors=True)
            self._held.discard(attempt)

    def receive(self, digest: str) -> Partial:
        """Starts the transfer of a blob into the cache."""
        return Partial(self, digest)

    def adopt(self, attempt: str, digest: str, file: Path) -> Path:
        """Moves a complete, verified file of this file system into the cache, pinned for `attempt`. Returns the pin."""
        size = file.stat().st_size
        path = self._path(digest)
        pinned = self._link(attempt, digest, file)  # first, so that it can't be evicted in between
        self._put(file, path)
        with self._lock:
            self._size = self._count() if self._size is None else self._size + size
            if self._size > self._limit:
                self._evict()
        return pinned

    def _put(self, file: Path, path: Path) -> None:
        """Moves a file to its place, replacing whatever is there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            for odd in (path.parent, path):
                if odd.is_file() or odd.is_symlink():
                    odd.unlink()
            if path.is_dir():
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, path)

    def trim(self) -> None:
        """Evicts expired entries."""
        if self._keep_for is not None:
            with self._lock:
                self._evict(time.time() - self._keep_for)

    def _link(self, attempt: str, digest: str, path: Path) -> Path:
        pinned = self._directory(attempt, "pins") / digest
        with contextlib.suppress(FileExistsError):
            os.link(path, pinned)
        return pinned

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):  # untrusted input, used as the name of a file that may be removed
            raise Corrupt(f"not a blob's digest: {digest[:100]!r}")
        return self._blobs / digest[:2] / digest

    def _entries(self) -> list[Entry]:
        found = []
        for path in self._blobs.glob("*/*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                found.append(Entry(facts.st_mtime, facts.st_size, path, in_use=facts.st_nlink > 1))
        return found

    def _count(self) -> int:
        return sum(entry.size for entry in self._entries())

    def _evict(self, before: float = 0.0) -> None:
        """Evicts unpinned entries last used `before`, and down to the limit."""
        self._size = evict(self._entries(), self._limit, before)
