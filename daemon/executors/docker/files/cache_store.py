"""Keeps jobs' caches on the worker's disk, between jobs: one archive per project and key, evicted by last use.

Workers of one host may share the directory: archives appear by rename, complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec

from daemon.executors.common import archive_note
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.archive_note import Note
from daemon.executors.docker.files.artifacts import FileCollector, Selection
from daemon.runtime.eviction import Entry, evict

IN_USE_SECONDS = 600.0
"""A cache used within this time may be in transfer into a container: it is kept, even over the limit."""
SUFFIX = ".tar.zst"
STALE_PARTIAL = 24 * 3600.0
"""Age in seconds after which a partial archive is the leftover of a killed process."""


class Cached(msgspec.Struct, frozen=True):
    """An existing cache: its archive, and that archive's note, if it has one."""

    key: str
    path: Path
    note: Note | None


class CacheStore:
    """All caches of a host, at most `limit` bytes of them; evicts entries unused for `keep_for` seconds."""

    def __init__(self, directory: Path, limit: int, keep_for: float | None = None) -> None:
        self._directory = directory
        self._limit = limit
        self._keep_for = keep_for

    def _path(self, project: str, key: str) -> Path:
        """The archive's path: keys are arbitrary, file names are not."""
        project_part = hashlib.sha256(project.encode()).hexdigest()[:16]
        return self._directory / project_part / (hashlib.sha256(key.encode()).hexdigest()[:32] + SUFFIX)

    def find(self, project: str, keys: Sequence[str]) -> Cached | None:
        """The cache of the first of `keys` with a usable one; marks it as most recently used."""
        for key in keys:
            path = self._path(project, key)
            with contextlib.suppress(OSError):
                os.utime(path)
                if path.is_file():
                    return Cached(key, path, archive_note.read(path))
        return None

    def discard(self, path: Path) -> None:
        """Removes an unreadable archive."""
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def store(
        self,
        project: str,
        key: str,
        taker: FileCollector,
        selection: Selection,
        note: Callable[[ArchiveWriter], Note] | None = None,
    ) -> None:
        """Replaces a cache with the files of `selection`, if there are any; `note` makes its note."""
        with self._replacing(self._path(project, key)) as partial:
            with ArchiveWriter(partial, taker.level("CACHE_COMPRESSION_LEVEL")) as out:
                any_taken = taker.take(selection, out)
            if not any_taken:
                partial.unlink()
            elif note:
                archive_note.append(partial, note(out))
        self.trim()

    def copy(self, project: str, key: str, cached: Cached) -> None:
        """Replaces a cache with the archive of another one. Raises OSError if that one is gone."""
        with self._replacing(self._path(project, key)) as partial:
            os.link(cached.path, partial)

    @contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        """A path for an archive that replaces the one at `path` after the block, if it exists then."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{uuid4().hex}.partial")
        try:
            yield partial
            if partial.exists():
                if path.is_dir():  # not ours
                    shutil.rmtree(path)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def trim(self) -> None:
        """Evicts expired caches, then the least recently used ones above the limit; removes leftovers."""
        now = time.time()
        for path in self._directory.glob("*/*.partial"):
            with contextlib.suppress(OSError):  # gone, or not our file
                if path.stat().st_mtime < now - STALE_PARTIAL:
                    path.unlink()
        oldest = 0.0 if self._keep_for is None else now - max(self._keep_for, IN_USE_SECONDS)
        entries: list[Entry] = []
        for path in self._directory.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(OSError):  # gone
                facts = path.stat()
                in_use = facts.st_mtime > now - IN_USE_SECONDS
                entries.append(Entry(facts.st_mtime, facts.st_size, path, in_use))
        evict(entries, self._limit, oldest)
