"""Packs the files of a project without git into a reproducible tar.

Contains every file that `project_files` lists, with uncommitted changes. Owner and time are fixed and permission bits
kept, so the digest depends on names, contents and modes alone. Uncompressed: gzip (100 MB/s) takes about as long as it
saves on a gigabit line, and far longer on loopback.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from pipeline.file_listing import project_files
from pipeline.git_repository import Repository
from protocol.client import Client
from protocol.errors import LongshoreError
from protocol.plan import Plan
from protocol.workspace import MTIME, TarWorkspace

COPY_BYTES = 1 << 20
AT_ONCE_BYTES = 4 << 20
"""Files up to this size are read at once."""


class Snapshot(msgspec.Struct, frozen=True):
    """A finished tar: its path, sha256 and size in bytes."""

    path: Path
    digest: str
    size: int


class TarWorkspaceMaker:
    """Makes the workspace of one run from a directory that is no git repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._folder = tempfile.TemporaryDirectory(prefix="longshore-")
        self._made: Snapshot | None = None

    def read(self) -> None:
        """Lists the files; once."""
        self._repository.listing()

    def upload(self, plan: Plan, client: Client) -> TarWorkspace:
        """Packs the files, once, and uploads them unless the coordinator has them. May be called again.

        Raises LongshoreError, CoordinatorUnreachable.
        """
        if self._made is None:
            target = Path(self._folder.name) / "workspace.tar"
            self._made = write_snapshot(self._repository.root, target, self._repository.listing())
        client.upload(self._made.path, self._made.digest)
        return TarWorkspace(digest=self._made.digest, size=self._made.size)

    def submitted(self) -> None:
        """Removes the tar."""
        self._folder.cleanup()

    def close(self) -> None:
        """Removes the tar."""
        self._folder.cleanup()


class _HashingFile:
    """A binary file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hasher = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


def write_snapshot(root: Path, target: Path, files: set[str] | None = None) -> Snapshot:
    """Writes the tar of the project at `root` to `target`; lists the project's files unless `files` are given.

    Raises LongshoreError naming the unreadable file.
    """
    with target.open("wb") as file:
        hashing = _HashingFile(file)
        try:
            with tarfile.TarFile(
                fileobj=cast(BinaryIO, hashing),
                mode="w",
                format=tarfile.GNU_FORMAT,
                encoding="utf-8",
                errors="surrogateescape",
                copybufsize=COPY_BYTES,
            ) as tar:
                for name in _with_parents(project_files(root) if files is None else files):
                    _add(tar, root, name)
        except OSError as error:
            raise LongshoreError(f"can't pack the project: {error}") from error
        return Snapshot(target, hashing.hasher.hexdigest(), file.tell())


def _with_parents(names: set[str]) -> list[str]:
    """The names and all parent directories, each directory before its contents."""
    names = {name.rstrip("/") for name in names}
    every = set(names)
    for name in names:
        parent = os.path.dirname(name)
        while parent and parent not in every:
            every.add(parent)
            parent = os.path.dirname(parent)
    return sorted(every, key=os.fsencode)


def _add(tar: tarfile.TarFile, root: Path, name: str) -> None:
    path = os.path.join(root, name)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return  # deleted since it was listed
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(found.st_mode)
    info.mtime = MTIME
    if stat.S_ISLNK(found.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        tar.addfile(info)
    elif stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISREG(found.st_mode):
        _add_file(tar, info, path)


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: str) -> None:
    """A file may change while it is packed: a log, an editor's save. A small one is read atomically, in one go."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return  # deleted since the stat
    with file:
        info.size = os.fstat(file.fileno()).st_size
        if info.size <= AT_ONCE_BYTES:
            data = file.read(AT_ONCE_BYTES)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            return
        try:
            tar.addfile(info, file)
        except OSError as error:
            raise LongshoreError(f"{path} changed while it was packed; try again ({error})") from error
