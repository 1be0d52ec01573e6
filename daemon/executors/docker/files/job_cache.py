"""One job's caches: finds those of earlier jobs, and saves what the job has changed."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from daemon.executors.base import Checkout
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.archive_note import Note
from daemon.executors.common.archives import check
from daemon.executors.common.environment import Environment
from daemon.executors.common.globs import Patterns, fixed_prefix
from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.files.artifacts import Expand, FileCollector, Selection, due
from daemon.executors.docker.files.cache_store import Cached, CacheStore
from daemon.tar_stream import BadArchive
from protocol.display import printable
from protocol.errors import EngineUnavailable, UsageError, reason_of
from protocol.plan import CacheSpec


class Found(msgspec.Struct, frozen=True):
    """A cache for the job, in the place of the `index`th one that it wants."""

    index: int
    cached: Cached


class Base(msgspec.Struct, frozen=True):
    """A cache below the job's view of its project directory: its place among the job's, its key and its content."""

    index: int
    key: str
    digest: str


def bases_of(found: Sequence[Found]) -> list[Base]:
    """These caches below a view; one without a note has no known content."""
    return [Base(one.index, one.cached.key, one.cached.note.digest if one.cached.note else "") for one in found]


class Written(Protocol):
    """What a job has written over the caches below its project directory."""

    def untouched(self, directories: Sequence[str], without: Collection[str]) -> bool:
        """Whether nothing was written to these directories, and those `without` existence still have none.

        Raises EngineError, EngineUnavailable.
        """


class JobCaches(msgspec.Struct, frozen=True):
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

    def find(self, environment: Environment) -> list[Found]:
        """The existing caches for the job, in order."""
        all_found: list[Found] = []
        for index, spec in enumerate(self.specs):
            if environment.expand(spec.policy) in ("pull", "pull-push"):
                fallbacks = [*spec.fallback_keys, *filter(None, [environment.values.get("CACHE_FALLBACK_KEY")])]
                keys = [self._key(index, environment.expand), *map(environment.expand, fallbacks)]
                if cached := self.store.find(self.project, keys):
                    all_found.append(Found(index, cached))
        return all_found

    def sound(self, found: Sequence[Found]) -> list[Found]:
        """The readable ones; removes the others, so that the next job does not meet them again."""
        sound = []
        for one in found:
            try:
                check(one.cached.path)
                sound.append(one)
            except (BadArchive, OSError):
                self.store.discard(one.cached.path)
        return sound

    def save(
        self,
        taker: FileCollector,
        known: Callable[[], frozenset[str]],
        *,
        succeeded: bool,
        bases: Sequence[Base] = (),
        written: Written | None = None,
    ) -> list[Base]:
        """Stores the job's caches for later jobs; a failure is a warning, as in GitLab.

        `bases` are below the job's view, and `written` is in it; caches without a change are not stored again. Returns
        those of `bases` that were replaced. Raises UsageError.
        """
        for index, spec in enumerate(self.specs):
            if spec.key_files and self.file_keys[index] == "default":
                taker.warnings.append(f"cache:key:files: no {' or '.join(spec.key_files)}, so the key is `default`")
            if taker.expand(spec.policy) in ("push", "pull-push") and due(spec.when, succeeded):
                key = self._key(index, taker.expand)
                base = next((base for base in bases if base.index == index), None)
                try:
                    if not (base and written and self._keep(key, base, taker, written)):
                        self._store(index, key, taker, known)
                except (EngineError, EngineUnavailable, BadArchive, OSError) as error:
                    taker.warnings.append(f"the cache {printable(key)} is not saved: {reason_of(error)}")
        return [base for base in bases if self._is_replaced(base)]

    def _is_replaced(self, base: Base) -> bool:
        cached = self.store.find(self.project, [base.key])
        return cached is not None and (cached.note is None or cached.note.digest != base.digest)

    def _store(self, index: int, key: str, taker: FileCollector, known: Callable[[], frozenset[str]]) -> None:
        spec = self.specs[index]
        selection = Selection(spec.paths, (), known() if spec.untracked else None)
        taker.empty.clear()
        taker.through_links = False

        def note(out: ArchiveWriter) -> Note:
            selection = self._selection(index, taker)
            without, alone = tuple(taker.empty), not taker.through_links
            return Note(out.digest, selection, tuple(out.roots), tuple(out.links), without, alone)

        self.store.store(self.project, key, taker, selection, note)

    def _keep(self, key: str, base: Base, taker: FileCollector, written: Written) -> bool:
        """Keeps the archive of a cache that the job has not changed; False if it has, or if that is not sure."""
        cached = self.store.find(self.project, [base.key])
        note = cached.note if cached else None
        if cached is None or note is None or note.digest != base.digest or not note.alone:
            return False
        if note.selection != self._selection(base.index, taker) or self._shares(base.index, taker):
            return False
        if self.specs[base.index].untracked:
            return False
        if not written.untouched(taker.directories(self.specs[base.index].paths), note.without):
            return False
        if key != base.key:  # it came from a fallback key
            self.store.copy(self.project, key, cached)
        return True

    def _selection(self, index: int, taker: FileCollector) -> str:
        """Identifies the files that a cache is made of, by its patterns."""
        spec = self.specs[index]
        patterns = [taker.expand(path) for path in spec.paths]
        return hashlib.sha256(msgspec.json.encode((patterns, spec.untracked))).hexdigest()

    def _shares(self, index: int, taker: FileCollector) -> bool:
        """Whether another cache of the job may have some of a cache's files."""
        own = taker.directories(self.specs[index].paths)
        others = [spec for other, spec in enumerate(self.specs) if other != index]
        theirs = [each for spec in others for each in taker.directories(spec.paths)]
        return any(spec.untracked for spec in others) or any(_overlap(one, other) for one in own for other in theirs)


def _overlap(one: str, other: str) -> bool:
    """Whether a directory is the other one, or below it, or above it."""
    return not one or not other or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


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
