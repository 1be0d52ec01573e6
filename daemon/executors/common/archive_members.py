"""Selects members of tar archives from containers, and writes them into Longshore's archives. Knows no engine.

A job controls its container's archives; only files, directories and links with a name inside the project are taken.
Everything is streamed.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from daemon.executors.common.archives import plain, reading
from protocol.compression import compressed


class Members(Protocol):
    """Receives the members of an archive.

    `names` are its members, possible targets of hard links; `follows`: replace a symbolic link to a file by the file.
    """

    names: set[str]
    follows: bool

    def directory(self, info: tarfile.TarInfo) -> None:
        """A directory of the source, wanted or not, before its content."""

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """A wanted member, with its data if it is a file."""


class ArchiveWriter:
    """A compressed tar that depends only on its members: no owners, no creation time.

    Parent directories are written before a member, as in the source, so that unpacking restores their modes.
    """

    follows = False

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._stack = ExitStack()
        self._stack.enter_context(self._file)
        packed = self._stack.enter_context(compressed(self._file))
        tar = tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._tar = self._stack.enter_context(tar)
        self._directories: dict[str, tarfile.TarInfo] = {}
        self.names: set[str] = set()

    def directory(self, info: tarfile.TarInfo) -> None:
        """Remembers a directory, to be written with its first wanted member."""
        self._directories[info.name] = info

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """Writes a member, unless its name is present."""
        if info.name in self.names:
            return
        above = posixpath.dirname(info.name)
        if above and above not in self.names and (directory := self._directories.get(above)):
            self.add(directory, None)
        self.names.add(info.name)
        self._tar.addfile(info, data)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@dataclass(slots=True)
class Selected:
    """A selection of a tar's members, and the wanted members that could not be copied.

    `place` returns a member's name in the target (None: outside the selection); `wanted` takes that name and whether
    it is a directory; `through` returns whether patterns lead through a symbolic link of that name.
    """

    place: Callable[[str], str | None]
    wanted: Callable[[str, bool], bool]
    through: Callable[[str], bool]
    hard_links: list[str] = field(default_factory=list)
    """Names of hard links without a copied target: they have no data of their own."""
    links: list[tarfile.TarInfo] = field(default_factory=list)
    """Symbolic links that patterns lead through, and wanted ones to follow."""
    left_out: list[str] = field(default_factory=list)
    """Names of wanted devices and pipes."""


def copy_members(stream: BinaryIO, selected: Selected, out: Members) -> None:
    """Copies the selected members of a tar stream to `out`. Raises BadArchive."""
    targets: dict[str, str] = {}  # of symbolic links: a hard link may point to one
    with reading(stream) as tar:
        for member in tar:
            name = selected.place(posixpath.normpath(member.name))
            if name is None or not name:
                continue
            info = plain(member, name)
            if member.isdir():
                out.directory(info)
            elif member.issym():
                targets[name] = member.linkname
            elif member.islnk() and (target := selected.place(posixpath.normpath(member.linkname))) in targets:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, targets[target], 0o777
            if info.issym() and selected.through(name):
                selected.links.append(info)
                continue
            if not selected.wanted(name, member.isdir()):
                continue
            if info.issym() and out.follows:
                selected.links.append(info)
                continue
            if member.isdev():
                selected.left_out.append(name)
                continue
            if info.islnk():
                info.linkname = selected.place(posixpath.normpath(member.linkname)) or ""
                if info.linkname not in out.names:
                    selected.hard_links.append(name)
                    continue
            out.add(info, tar.extractfile(member) if member.isreg() else None)  # type: ignore[arg-type]


def copy_file(stream: BinaryIO, name: str, out: Members) -> tuple[bool, str]:
    """Copies the single file of a tar stream to `out` as `name`.

    Returns whether it is a file, and the target if it is a symbolic link. Raises BadArchive.
    """
    with reading(stream) as tar:
        member = tar.next()
        if member is not None and member.isreg():
            out.add(plain(member, name), tar.extractfile(member))  # type: ignore[arg-type]
            return True, ""
        return False, member.linkname if member is not None and member.issym() else ""
