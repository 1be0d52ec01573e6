"""Keeps jobs' caches on the worker's disk, between jobs: one archive per project and key, evicted by last use.

Workers of one host may share the directory: archives appear by rename, complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from daemon.executors.base import Checkout
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.archives import check
from daemon.executors.common.environment import Environment
from daemon.executors.common.globs import Patterns, fixed_prefix
from daemon.executors.common.tar_stream import BadArchive
from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.files.artifacts import Expand, FileCollector, Selection, due, printable
from daemon.runtime.eviction import Entry, evict
from protocol.errors import EngineUnavailable, UsageError
from protocol.plan import CacheSpec

IN_USE_SECONDS = 600.0
"""A cache used within this time may be in transfer into a container: it is kept, even over the limit."""
SUFFIX = ".tar.zst"


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

    def find(self, project: str, keys: Sequence[str]) -> Path | None:
        """The archive of the first of `keys` with a usable one; marks it as most recently used."""
        for key in keys:
            path = self._path(project, key)
            with contextlib.suppress(OSError):
                os.utime(path)
                if path.is_file():
                    return path
        return None

    def discard(self, path: Path) -> None:
        """Removes an unreadable archive."""
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def store(self, project: str, key: str, taker: FileCollector, selection: Selection) -> None:
        """Replaces a cache with the files of `selection`, if there are any."""
        path = self._path(project, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{uuid4().hex}.partial")
        try:
            with ArchiveWriter(partial) as out:
                any_taken = taker.take(selection, out)
            if any_taken:
                if path.is_dir():  # not ours
                    shutil.rmtree(path)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self.trim()

    def trim(self) -> None:
        """Evicts expired caches, then the least recently used ones above the limit."""
        now = time.time()
        oldest = 0.0 if self._keep_for is None else now - max(self._keep_for, IN_USE_SECONDS)
        entries: list[Entry] = []
        for path in self._directory.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(OSError):  # gone
                facts = path.stat()
                in_use = facts.st_mtime > now - IN_USE_SECONDS
                entries.append(Entry(facts.st_mtime, facts.st_size, path, in_use))
        evict(entries, self._limit, oldest)


@dataclass(frozen=True, slots=True)
class JobCaches:
    """One job's caches. `file_keys` are the values of `key:files`, one per cache; see `file_keys_of`."""

    store: CacheStore
    project: str
    specs: Sequence[CacheSpec]
    file_keys: Sequence[str]

    def _key(self, index: int, expand: Expand) -> str:
        spec = self.specs[index]
        if spec.key_files:
            return f"{expand(spec.key_prefix) or index}-{self.file_keys[index]}"
        return expand(spec.key) or "default"

    def to_lay_in(self, environment: Environment) -> list[Path]:
        """The existing archives for the job, in the caches' order."""
        archives: list[Path] = []
        for index, spec in enumerate(self.specs):
            if environment.expand(spec.policy) in ("pull", "pull-push"):
                fallbacks = [*spec.fallback_keys, *filter(None, [environment.values.get("CACHE_FALLBACK_KEY")])]
                keys = [self._key(index, environment.expand), *map(environment.expand, fallbacks)]
                if found := self.store.find(self.project, keys):
                    archives.append(found)
        return archives

    def sound(self, archives: Sequence[Path]) -> list[Path]:
        """The readable ones; removes the others, so that the next job does not meet them again."""
        sound = []
        for path in archives:
            try:
                check(path)
                sound.append(path)
            except (BadArchive, OSError):
                self.store.discard(path)
        return sound

    def save(self, taker: FileCollector, known: Callable[[], frozenset[str]], *, succeeded: bool) -> None:
        """Stores the job's caches for later jobs; a failure is a warning, as in GitLab.

        Raises UsageError.
        """
        for index, spec in enumerate(self.specs):
            if spec.key_files and self.file_keys[index] == "default":
                taker.warnings.append(f"cache:key:files: no {' or '.join(spec.key_files)}, so the key is `default`")
            if taker.expand(spec.policy) in ("push", "pull-push") and due(spec.when, succeeded):
                selection = Selection(spec.paths, (), known() if spec.untracked else None)
                key = self._key(index, taker.expand)
                try:
                    self.store.store(self.project, key, taker, selection)
                except (EngineError, EngineUnavailable, BadArchive, OSError) as error:
                    taker.warnings.append(f"the cache {printable(key)} is not saved: {error}")


def file_keys_of(specs: Sequence[CacheSpec], checkout: Checkout | None) -> list[str]:
    """For each cache, a hash of the workspace files named by its key; `default` if none exists.

    A name may be a file, a directory of files, or a pattern. A name with a bracket may be both.
    Raises BadArchive, OSError.
    """
    named = [[posixpath.normpath(each) for each in spec.key_files if each] for spec in specs]
    patterns = [_patterns(each) for each in named]

    def means(index: int, name: str) -> bool:
        if any(name == each or name.startswith(f"{each}/") for each in named[index]):
            return True
        return any(pattern.match(name) for pattern in patterns[index])

    def wanted(name: str) -> bool:
        return any(means(index, name) for index in range(len(specs)))

    hashes: Mapping[str, str] = checkout.hashes(wanted) if any(named) and checkout else {}
    keys: list[str] = []
    for index in range(len(specs)):
        found = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes) if means(index, name))
        keys.append(hashlib.sha256(found.encode("utf-8", "surrogateescape")).hexdigest() if found else "default")
    return keys


def _patterns(names: Sequence[str]) -> list[Patterns]:
    """The names that may be patterns."""
    patterns: list[Patterns] = []
    for name in names:
        if fixed_prefix(name) != name:
            with contextlib.suppress(UsageError):  # an invalid pattern is a name
                patterns.append(Patterns([name]))
    return patterns
