"""Keeps jobs' caches on the worker's disk, from job to job: one archive per project and key, oldest used out first.

Workers of one host may share the directory: archives appear by rename, whole.
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

from daemon.executors.base import Workspace
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.archives import BadArchive, check
from daemon.executors.common.environment import Environment
from daemon.executors.common.globs import Patterns, fixed_prefix
from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.files.artifacts import Expand, FileCollector, Selection, due, printable
from protocol.errors import EngineUnavailable, UsageError
from protocol.plan import CacheSpec

EVICT_DOWN_TO = 0.9
"""Share of the limit that is left by an eviction, so that not each new cache brings one."""
IN_USE_SECONDS = 600.0
"""A cache that was used so recently may be on its way into a container: it stays, whatever room there is."""
SUFFIX = ".tar.gz"


class CacheStore:
    """All caches of a host, at most `limit` bytes of them; what was not used for `keep_for` seconds goes too."""

    def __init__(self, directory: Path, limit: int, keep_for: float | None = None) -> None:
        self._directory = directory
        self._limit = limit
        self._keep_for = keep_for

    def _path(self, project: str, key: str) -> Path:
        """Keys are anything; file names are not."""
        project_part = hashlib.sha256(project.encode()).hexdigest()[:16]
        return self._directory / project_part / (hashlib.sha256(key.encode()).hexdigest()[:32] + SUFFIX)

    def find(self, project: str, keys: Sequence[str]) -> Path | None:
        """The archive of the first of `keys` that has one that can be used; it now is the most recently used."""
        for key in keys:
            path = self._path(project, key)
            with contextlib.suppress(OSError):
                os.utime(path)
                if path.is_file():
                    return path
        return None

    def discard(self, path: Path) -> None:
        """Removes an archive that can't be read."""
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    def store(self, project: str, key: str, taker: FileCollector, selection: Selection) -> None:
        """Replaces a cache by the files that `selection` gives, if there are any."""
        path = self._path(project, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{uuid4().hex}.partial")
        try:
            with ArchiveWriter(partial) as out:
                any_taken = taker.take(selection, out)
            if any_taken:
                if path.is_dir():  # none of ours
                    shutil.rmtree(path)
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self.trim()

    def trim(self) -> None:
        """Removes what is too old, and the least recently used of what is too much."""
        now = time.time()
        oldest = 0.0 if self._keep_for is None else now - max(self._keep_for, IN_USE_SECONDS)
        files: list[tuple[float, int, Path]] = []
        for path in self._directory.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(OSError):  # gone, or no file of ours
                stat = path.stat()
                if stat.st_mtime < oldest:
                    path.unlink()
                else:
                    files.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self._limit:
            return
        for used, size, path in sorted(files):
            if total <= self._limit * EVICT_DOWN_TO or used > now - IN_USE_SECONDS:
                return
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size


@dataclass(frozen=True, slots=True)
class JobCaches:
    """The caches of one job. `file_keys` are what `key:files` comes to, one for each; see `file_keys_of`."""

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
        """The archives that there are for the job, in the caches' order."""
        archives: list[Path] = []
        for index, spec in enumerate(self.specs):
            if environment.expand(spec.policy) in ("pull", "pull-push"):
                fallbacks = [*spec.fallback_keys, *filter(None, [environment.values.get("CACHE_FALLBACK_KEY")])]
                keys = [self._key(index, environment.expand), *map(environment.expand, fallbacks)]
                if found := self.store.find(self.project, keys):
                    archives.append(found)
        return archives

    def sound(self, archives: Sequence[Path]) -> list[Path]:
        """Those that can be read; the others are removed, so that the next job does not meet them again."""
        sound = []
        for path in archives:
            try:
                check(path)
                sound.append(path)
            except (BadArchive, OSError):
                self.store.discard(path)
        return sound

    def save(self, taker: FileCollector, known: Callable[[], frozenset[str]], *, succeeded: bool) -> None:
        """Stores what the job has left for the next ones; what can't be stored is a warning, as in GitLab.

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


def file_keys_of(specs: Sequence[CacheSpec], workspace: Workspace | None) -> list[str]:
    """For each cache, a hash of the files in the workspace that its key means; `default` if none is there.

    The files are named, or a directory of them is, or a pattern matches them. A name with a bracket in it may be both.
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

    hashes: Mapping[str, str] = workspace.hashes(wanted) if any(named) and workspace else {}
    keys: list[str] = []
    for index in range(len(specs)):
        found = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes) if means(index, name))
        keys.append(hashlib.sha256(found.encode("utf-8", "surrogateescape")).hexdigest() if found else "default")
    return keys


def _patterns(names: Sequence[str]) -> list[Patterns]:
    """Those of the names that may be patterns."""
    patterns: list[Patterns] = []
    for name in names:
        if fixed_prefix(name) != name:
            with contextlib.suppress(UsageError):  # what is no pattern is a name
                patterns.append(Patterns([name]))
    return patterns
