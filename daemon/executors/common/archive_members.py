"""Selects members of tar archives from containers, and writes them into Longshore's archives. Knows no engine.

A job controls its container's archives; only files, directories and links with a name inside the project are taken.
Everything is streamed.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from daemon.tar_stream import END, Member, TarReader, padding
from protocol.compression import LEVEL, compressed

DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


class Members(Protocol):
    """Receives the members of an archive.

    `names` are its members, possible targets of hard links; `follows`: replace a symbolic link to a file by the file.
    """

    names: set[str]
    follows: bool

    def directory(self, member: Member) -> None:
        """A directory of the source, wanted or not, before its content."""

    def add(self, member: Member, data: Iterator[bytes]) -> None:
        """A wanted member, with its data if it is a file."""


class _HashingFile:
    """A binary file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        return self._file.write(data)


class ArchiveWriter:
    """A compressed tar that depends only on its members: no owners, no creation time. `digest` is its final sha256.

    Parent directories are written before a member, as in the source, so that unpacking restores their modes.
    """

    follows = False

    def __init__(self, path: Path, level: int = LEVEL) -> None:
        self.names: set[str] = set()
        self.roots: list[str] = []  # the outermost members
        self.links: list[str] = []  # symbolic ones
        self.digest = ""
        self._directories: dict[str, Member] = {}
        self._stack = ExitStack()
        self._file = _HashingFile(self._stack.enter_context(path.open("wb")))
        self._packed = self._stack.enter_context(compressed(self._file, level))

    def directory(self, member: Member) -> None:
        """Remembers a directory, to be written with its first wanted member."""
        self._directories[member.name] = member

    def add(self, member: Member, data: Iterator[bytes]) -> None:
        """Writes a member, unless its name is present."""
        name = member.name
        if name in self.names:
            return
        above = posixpath.dirname(name)
        if above and above not in self.names and (directory := self._directories.get(above)):
            self.add(directory, iter(()))
        if above not in self.names:
            self.roots.append(name)
        if member.is_symlink:
            self.links.append(name)
        self.names.add(name)
        write = self._packed.write
        write(member.encoded())
        for piece in data:
            write(piece)
        if member.size:
            write(padding(member.size))

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            self._packed.write(END * 2)
        self.digest = self._file.hasher.hexdigest()


class Selected(msgspec.Struct):
    """A selection of a tar's members, and the wanted members that could not be copied.

    `place` returns a member's name in the target (None: outside the selection); `wanted` takes that name and whether
    it is a directory; `through` returns whether patterns lead through a symbolic link of that name.
    """

    place: Callable[[str], str | None]
    wanted: Callable[[str, bool], bool]
    through: Callable[[str], bool]
    hard_links: list[str] = []
    """Names of hard links without a copied target: they have no data of their own."""
    links: list[Member] = []
    """Symbolic links that patterns lead through, and wanted ones to follow."""
    left_out: list[str] = []
    """Names of wanted devices and pipes."""


def copy_members(stream: BinaryIO, source: str, selected: Selected, out: Members) -> None:
    """Copies the selected members of a tar stream, from this `source`, to `out`. Raises BadArchive."""
    targets: dict[str, str] = {}  # of symbolic links: a hard link may point to one
    reader = TarReader(stream, source)
    for member in reader:
        name = selected.place(posixpath.normpath(member.name))
        if not name:
            continue
        member.name = name
        if member.is_directory:
            out.directory(member)
        elif member.is_symlink:
            targets[name] = member.target
        elif member.is_hard_link:
            member.target = selected.place(posixpath.normpath(member.target)) or ""
            if member.target in targets:
                member.kind, member.target, member.mode = tarfile.SYMTYPE, targets[member.target], 0o777
        if member.is_symlink and selected.through(name):
            selected.links.append(member)
            continue
        if not selected.wanted(name, member.is_directory):
            continue
        if member.is_symlink and out.follows:
            selected.links.append(member)
        elif member.kind in DEVICES:
            selected.left_out.append(name)
        elif member.is_hard_link and member.target not in out.names:
            selected.hard_links.append(name)
        else:
            out.add(member, reader.data())


def copy_file(stream: BinaryIO, source: str, name: str, out: Members) -> tuple[bool, str]:
    """Copies the single file of a tar stream, from this `source`, to `out` as `name`.

    Returns whether it is a file, and the target if it is a symbolic link. Raises BadArchive.
    """
    reader = TarReader(stream, source)
    member = next(iter(reader), None)
    if member is None or not member.is_file:
        return False, member.target if member is not None and member.is_symlink else ""
    member.name = name
    out.add(member, reader.data())
    return True, ""
