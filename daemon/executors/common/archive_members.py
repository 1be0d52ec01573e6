"""Members of tar archives that come out of containers: chosen, copied, written into archives of ours. Knows no engine.

What comes out is anything that a job can make; of it only files, directories and links with a name inside of the
project are taken. Everything is streamed.
"""

from __future__ import annotations

import gzip
import posixpath
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from daemon.executors.common.archives import plain, reading

GZIP_LEVEL = 1
"""Artifacts are written once and read a few times: speed before size."""


class Members(Protocol):
    """Where members of an archive go.

    `names` are those that it has, to which hard links may lead; `follows`: a symbolic link to a file is to be the file.
    """

    names: set[str]
    follows: bool

    def directory(self, info: tarfile.TarInfo) -> None:
        """A directory that there is, whether it is wanted or not; what is in it follows."""

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """A wanted member, with its data if it is a file."""


class ArchiveWriter:
    """A gzipped tar that depends on its members alone: no owners, no time of its making.

    Directories above a member are written before it, as the source had them, so that what is unpacked has their modes.
    """

    follows = False

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=GZIP_LEVEL, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._directories: dict[str, tarfile.TarInfo] = {}
        self.names: set[str] = set()

    def directory(self, info: tarfile.TarInfo) -> None:
        """Remembers a directory, to be written if something in it is."""
        self._directories[info.name] = info

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """Writes a member, unless one of its name is there."""
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
        try:
            self._tar.close()
            self._gzip.close()
        finally:
            self._file.close()


@dataclass(slots=True)
class Selected:
    """What is to be copied out of a tar, and what could not be.

    `place` gives a member's name in the target (None: not inside of what is taken); `wanted` is asked with that name
    and whether it is a directory, `through` whether patterns lead through a symbolic link of that name.
    """

    place: Callable[[str], str | None]
    wanted: Callable[[str, bool], bool]
    through: Callable[[str], bool]
    hard_links: list[str] = field(default_factory=list)
    """Names of hard links whose target was not taken: they have no data of their own."""
    links: list[tarfile.TarInfo] = field(default_factory=list)
    """Symbolic links that patterns lead through, and wanted ones that are to be followed."""
    left_out: list[str] = field(default_factory=list)
    """Names of wanted devices and pipes."""


def copy_members(stream: BinaryIO, selected: Selected, out: Members) -> None:
    """Copies the members of a tar stream that are selected to `out`. Raises BadArchive."""
    targets: dict[str, str] = {}  # of symbolic links, for a hard link may lead to one
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
    """Copies a file, which a tar stream has alone, to `out` as `name`.

    Returns whether it is one, and the target if it is a symbolic link. Raises BadArchive.
    """
    with reading(stream) as tar:
        member = tar.next()
        if member is not None and member.isreg():
            out.add(plain(member, name), tar.extractfile(member))  # type: ignore[arg-type]
            return True, ""
        return False, member.linkname if member is not None and member.issym() else ""
