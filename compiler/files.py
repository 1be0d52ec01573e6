"""The files of a run's snapshot, read out of its packs or its tar. Nothing is ever written to disk, and no path of the
snapshot becomes one of this host's: a symbolic link is followed within the snapshot.
"""

from __future__ import annotations

import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from daemon.checkouts import trees
from daemon.checkouts.objects import FILE, LINK, LONGEST_LINK, Objects, kind
from daemon.checkouts.snapshot import Snapshot
from daemon.tar_stream import TarReader
from pipeline.git_repository import readable
from pipeline.includes.records import Provenance
from pipeline.includes.sources import TOO_LARGE
from pipeline.yaml_loader import MAX_FILE_BYTES
from protocol.compression import decompressed
from protocol.errors import LongshoreError

MOST_LINKS = 40
"""Maximum symbolic links on the way to a file, as in Linux."""
OUTSIDE = "is a symbolic link that leads outside the project"


class _Entry(NamedTuple):
    """A file or a link. `key` finds its content."""

    key: str
    is_link: bool


class SnapshotFiles(ABC):
    """A run's files as `pipeline` reads a project's; see its `Source`."""

    label = ""
    provenance = Provenance(origin="the snapshot of the run")

    def prefetch(self, paths: Iterable[str]) -> None:  # noqa: B027
        """The files are here."""

    @abstractmethod
    def _entries(self) -> Iterator[tuple[str, _Entry]]:
        """All files and links, by path."""

    @abstractmethod
    def _content(self, entry: _Entry) -> bytes:
        """The content of a file, or a link's target. Raises LongshoreError."""

    @cached_property
    def _by_path(self) -> dict[str, _Entry]:
        return dict(self._entries())

    @cached_property
    def files(self) -> list[str]:
        """All files and links."""
        return sorted(self._by_path)

    @cached_property
    def _directories(self) -> set[str]:
        found: set[str] = set()
        for path in self._by_path:
            while (path := os.path.dirname(path)) and path not in found:
                found.add(path)
        return found

    def read(self, path: str) -> bytes | None:
        """A file's content; None if there is none. Raises LongshoreError for one that can't be read."""
        found = self._followed(path)
        if found in self._directories:
            raise LongshoreError("is a directory")
        entry = self._by_path.get(found)
        return None if entry is None else self._content(entry)

    def _followed(self, path: str) -> str:
        """The path without symbolic links. Raises LongshoreError."""
        todo, done, links = path.split("/")[::-1], list[str](), 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    raise LongshoreError(OUTSIDE)
                done.pop()
                continue
            done.append(part)
            entry = self._by_path.get("/".join(done))
            if entry is None or not entry.is_link:
                continue
            links += 1
            target = os.fsdecode(self._content(entry))
            if links > MOST_LINKS:
                raise LongshoreError("is a symbolic link that leads to itself")
            if target.startswith("/"):
                raise LongshoreError(OUTSIDE)
            done.pop()
            todo += target.split("/")[::-1]
        return "/".join(done)


class GitFiles(SnapshotFiles):
    """The files of a snapshot in git packs, with those of the submodules that are checked out."""

    def __init__(self, objects: Objects, snapshot: Snapshot) -> None:
        self._objects = objects
        self._snapshot = snapshot

    def _entries(self) -> Iterator[tuple[str, _Entry]]:
        for repository in self._snapshot.repositories:
            for path, mode, key in trees.walk(self._objects, repository.tree, repository.prefix):
                if kind(mode) in (FILE, LINK):
                    yield readable(os.fsdecode(path)), _Entry(key, kind(mode) == LINK)

    def _content(self, entry: _Entry) -> bytes:
        most = LONGEST_LINK if entry.is_link else MAX_FILE_BYTES
        if self._objects.sizes([entry.key])[entry.key] > most:
            raise LongshoreError(TOO_LARGE)
        return next(self._objects.read([entry.key], "blob", most))


class TarFiles(SnapshotFiles):
    """The files of a tar."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}

    def _entries(self) -> Iterator[tuple[str, _Entry]]:
        try:
            with tarfile.open(self._path, "r:") as tar:
                for member in tar:
                    if member.isreg() or member.issym():
                        name = readable(member.name)
                        self._members[name] = member
                        yield name, _Entry(name, member.issym())
        except tarfile.TarError as error:
            raise LongshoreError(f"the run's workspace can't be read: {error}") from None

    def _content(self, entry: _Entry) -> bytes:
        member = self._members[entry.key]
        if entry.is_link:
            return os.fsencode(member.linkname)
        if member.size > MAX_FILE_BYTES:
            raise LongshoreError(TOO_LARGE)
        with self._path.open("rb") as file:
            file.seek(member.offset_data)
            return file.read(member.size)


class NoFiles(SnapshotFiles):
    """A run without a workspace."""

    def _entries(self) -> Iterator[tuple[str, _Entry]]:
        yield from ()

    def _content(self, entry: _Entry) -> bytes:
        raise AssertionError(entry)


def artifact(archives: Iterable[Path], path: str, job: str) -> bytes:
    """A file among a job's artifacts; nothing is unpacked, and of two files of one name the later one counts.

    Raises LongshoreError, BadArchive.
    """
    wanted = path.strip("/").removeprefix("./")
    found: bytes | None = None
    for archive in archives:
        with decompressed(archive) as stream:
            tar = TarReader(stream, f"the artifact of {job!r}")
            for member in tar:
                if member.name.removeprefix("./").rstrip("/") != wanted:
                    continue
                if not member.is_file:
                    what = "a directory" if member.is_directory else "a link"
                    raise LongshoreError(f"{path!r} in the artifacts of {job!r} is {what}, not a file")
                if member.size > MAX_FILE_BYTES:
                    raise LongshoreError(f"{path!r} in the artifacts of {job!r} {TOO_LARGE}")
                found = b"".join(tar.data())
    if found is None:
        raise LongshoreError(f"there is no {path!r} among the artifacts of {job!r}; name it in its `artifacts:paths`")
    return found
