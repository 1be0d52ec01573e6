"""Caches as layers of a job's view: nothing is unpacked for a job, and what it writes shows whether a cache changed.

A layer hides what is below it, so a cache is one only if it has no path in common with the checkout: a member below a
link of the checkout must be unpacked through it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec

from daemon.executors.base import Layer
from daemon.executors.common.archive_note import Note
from daemon.executors.common.archives import Place, joined, parents
from daemon.executors.docker.api_client import GO_DIRECTORY, DockerClient, EngineError
from daemon.executors.docker.files.cache_store import Cached
from daemon.executors.docker.layers.helper import MOUNT, Helpers
from daemon.tar_stream import Owner

LARGE_BYTES = 2 << 20
"""Size of a cache's archive from which on a layer costs less than its unpacking."""
MOST_ROOTS = 1000
"""Limit of a cache's outermost members."""


def can_be_layers(caches: Sequence[Cached], checkout: Callable[[], frozenset[str]]) -> bool:
    """Whether caches are to be layers, all of them or none: a later one wins. `checkout` returns its names.

    Raises BadArchive, OSError.
    """
    if not any(cached.path.stat().st_size >= LARGE_BYTES for cached in caches):
        return False
    notes = [cached.note for cached in caches]
    if any(note is None or len(note.roots) > MOST_ROOTS for note in notes):
        return False
    names = checkout()
    directories = _directories(names)
    return all(_apart(note, names, directories) for note in notes if note)


def _directories(names: Iterable[str]) -> set[str]:
    """All directories above these names."""
    directories: set[str] = set()
    while names := {posixpath.dirname(name) for name in names} - directories:
        directories |= names
    return directories


def _apart(note: Note, names: frozenset[str], directories: set[str]) -> bool:
    """Whether an archive has nothing in common with these names but directories above it."""
    if any(root in names or root in directories for root in note.roots):
        return False
    above = {parent for root in note.roots for parent in parents(root)}
    return not any(parent in names and parent not in directories for parent in above)


def layer_of(cached: Cached, note: Note, owner: Owner, *, opened: bool) -> Layer:
    """A cache's layer, for the files' owner. If `opened`, the directories above its files are for everybody."""

    def archive() -> Iterator[bytes]:
        return joined([cached.path], Place(owner, whole=True, open_above=opened))

    key = f"cache-{note.digest}-{owner.uid}-{owner.gid}-{opened:d}"
    return Layer(key, cached.path.stat().st_size, archive)


class ViewChanges(msgspec.Struct, frozen=True):
    """What a job has written into its view. `upper` is the view's volume for that; `container` is the job's."""

    helpers: Helpers
    upper: str
    container: str
    project_dir: str
    image: str

    def untouched(self, directories: Sequence[str], without: Collection[str]) -> bool:
        """See Written."""
        engine = self.helpers.engine
        with (
            self.helpers.making() as name,
            self.helpers.container(name, self.image, [f"{self.upper}:{MOUNT}:nocopy"]) as helper,
        ):
            try:
                return all(self._untouched(engine, helper, each, each in without) for each in directories)
            except EngineError:  # a file in the place of a directory, say
                return False

    def _untouched(self, engine: DockerClient, helper: str, directory: str, absent: bool) -> bool:
        """Whether nothing was written to a directory, nor anything but directories above it, which hides it."""
        if not directory or engine.mode_of(helper, f"{MOUNT}/{directory}") is not None:
            return False
        for above in parents(directory):
            mode = engine.mode_of(helper, f"{MOUNT}/{above}")
            if mode is None:
                break
            if not mode & GO_DIRECTORY:
                return False
        there = engine.mode_of(self.container, f"{self.project_dir}/{directory}") is not None
        return there is not absent
