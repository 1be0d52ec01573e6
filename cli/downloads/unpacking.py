"""Unpacks a job's archive on the user's machine. Knows no coordinator.

Jobs decide what is in an archive, so it is untrusted: nothing is written outside the directory or through a link, and
no link that leads out of the directory is made. Files belong to the user; groups and others never get write access.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

import msgspec

from daemon.executors.common.archive_guard import BadMember, Clash, Guard
from daemon.tar_stream import BadArchive, Member, TarReader
from protocol.compression import decompressed
from protocol.errors import LongshoreError, UsageError

FILE_MODE, DIRECTORY_MODE = 0o755, 0o755
"""The most that a file's or a directory's mode may allow."""


class Unpacked(msgspec.Struct):
    """What was unpacked. `left_out` are names of links that lead out of the directory, and of devices and pipes."""

    files: int = 0
    bytes: int = 0
    left_out: list[str] = []


def check_target(directory: Path) -> None:
    """Raises UsageError unless `directory` is empty or does not exist."""
    try:
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty; name a new directory")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"can't write to {directory}: {error.strerror}") from error


def unpack(archive: Path, directory: Path) -> Unpacked:
    """Unpacks an archive into a directory that is empty or does not exist.

    Raises LongshoreError for a bad archive or a disk that is full; a part may be unpacked by then.
    """
    check_target(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with decompressed(archive) as stream:
            unpacking = _Unpacking(directory)
            reader = TarReader(stream, "the archive")
            for member in reader:
                unpacking.take(member, reader.data())
        return unpacking.finish()
    except (BadMember, BadArchive, Clash) as error:
        raise LongshoreError(f"the archive is refused: {error}; {directory} has a part of it") from error
    except OSError as error:
        raise LongshoreError(f"can't unpack into {directory}: {error.strerror}") from error


class _Unpacking:
    """One archive. Links are made last, so that no member can be written through one."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._guard = Guard()
        self._links: dict[str, str] = {}
        self._directories: dict[str, Member] = {}
        self._done = Unpacked()

    def take(self, member: Member, data: Iterator[bytes]) -> None:
        """One member, in the archive's order. Raises BadMember, BadArchive, OSError."""
        name = posixpath.normpath(member.name)
        if member.is_directory:
            self._guard.directory(member.name)
            self._links.pop(name, None)
            (self._root / name).mkdir(parents=True, exist_ok=True)
            self._directories[name] = member
        elif member.is_file:
            self._guard.file(member.name, member.size)
            self._write(self._place(name), member, data)
        elif member.is_symlink:
            self._guard.symlink(member.name)
            self._place(name)
            self._links[name] = member.target
        elif member.is_hard_link:
            self._guard.hard_link(member.name, member.target)
            os.link(self._root / posixpath.normpath(member.target), self._place(name), follow_symlinks=False)
            self._done.files += 1
        else:
            self._done.left_out.append(name)

    def finish(self) -> Unpacked:
        """Makes the links, then sets the modes and times of directories, which would change otherwise."""
        for name, target in self._links.items():
            if _leads_out(name, target):
                self._done.left_out.append(name)
            else:
                os.symlink(target, self._root / name)
        for name, member in reversed(self._directories.items()):
            path = self._root / name
            path.chmod(member.mode & DIRECTORY_MODE | 0o700)
            os.utime(path, (member.mtime, member.mtime))
        return self._done

    def _place(self, name: str) -> Path:
        """The path of a member that is no directory; an earlier one of its name is removed."""
        self._links.pop(name, None)
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def _write(self, path: Path, member: Member, data: Iterator[bytes]) -> None:
        with path.open("xb") as file:
            file.writelines(data)
        path.chmod(member.mode & FILE_MODE | 0o600)
        os.utime(path, (member.mtime, member.mtime))
        self._done.files += 1
        self._done.bytes += member.size


def _leads_out(name: str, target: str) -> bool:
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return target.startswith("/") or path == ".." or path.startswith("../")
