"""The files of a checkout, without `.git`: trees, modes, empty directories, submodules."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from daemon.checkouts import tar_members, trees
from daemon.checkouts.objects import SUBMODULE, TREE, Objects, kind
from daemon.checkouts.snapshot import Repository, Snapshot
from daemon.checkouts.tar_members import Member
from daemon.checkouts.trees import Item
from protocol.workspace import Modes

PROJECT_MODE = 0o755
ALL_MODES = 0o7777


class Part(msgspec.Struct, frozen=True):
    """The files of one repository: a tree at `top`, permissions, and directories that the tree may lack."""

    top: bytes
    tree: str
    modes: Modes
    empty: list[bytes]

    @property
    def prefix(self) -> bytes:
        """What its paths begin with."""
        return self.top + b"/" if self.top else b""

    def permissions(self, path: bytes, mode: int) -> int:
        """Permission bits of a path (relative to `top`), by git's mode."""
        if kind(mode) in (TREE, SUBMODULE):
            usual = self.modes.directory
        else:
            usual = self.modes.executable if mode & stat.S_IXUSR else self.modes.file
        return self.modes.other.get(path, usual) & ALL_MODES


Content = list[Part]
"""All files of a checkout; a submodule comes after its parent."""


def content_of(snapshot: Snapshot, chosen: Sequence[Repository]) -> Content:
    """The files of the chosen repositories; the other submodules are empty directories."""
    parts = []
    for one in chosen:
        empty = set(one.manifest.empty)
        for other in snapshot.repositories[1:]:
            if snapshot.repositories[other.manifest.parent] is one:
                empty.add(other.manifest.path)
        modes = one.manifest.modes
        modes = msgspec.structs.replace(modes, other=dict(sorted(modes.other.items())))
        parts.append(Part(one.top, one.tree, modes, sorted(empty)))
    return parts


def items(objects: Objects, content: Content) -> Iterator[tuple[Part, Item]]:
    """All files and directories, each directory before its content; paths are relative to the part's top."""
    for part in content:
        directories: set[bytes] = set()
        for item in trees.walk(objects, part.tree):
            if kind(item[1]) in (TREE, SUBMODULE):
                directories.add(item[0])
            yield part, item
        for path in part.empty:
            for each in [*above(path), path]:
                if each not in directories:
                    directories.add(each)
                    yield part, (each, TREE, "")


def above(path: bytes) -> list[bytes]:
    """A path's parent directories, outermost first."""
    pieces = path.split(b"/")
    return [b"/".join(pieces[:end]) for end in range(1, len(pieces))]


def member(part: Part, item: Item, sizes: Mapping[str, int]) -> Member:
    """The tar's member of a file or directory."""
    path, mode, key = item
    permissions = part.permissions(path, mode)
    if kind(mode) in (TREE, SUBMODULE):
        return tar_members.directory(part.prefix + path, permissions)
    return tar_members.of_blob(part.prefix + path, mode, permissions, sizes[key], key)


def members(objects: Objects, content: Content) -> list[Member]:
    """The tar's members of all files."""
    listed = list(items(objects, content))
    blobs = {key for _, (_, mode, key) in listed if kind(mode) not in (TREE, SUBMODULE)}
    sizes = objects.sizes(blobs)
    return [member(part, item, sizes) for part, item in listed]
