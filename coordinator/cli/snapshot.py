"""Packs a project's files, as git sees them, into one tar that is the same for the same files. Knows no coordinator.

In are tracked and untracked-but-not-ignored files with their uncommitted changes, checked-out submodules, symlinks
and empty directories; a folder that is no git repository goes in whole. Owner and time are fixed, permission bits are
kept, so the digest depends on names, contents and modes alone. Plain, not gzipped: compressing (100 MB/s) takes about
as long as it saves on a gigabit line, and far longer on loopback.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from protocol.errors import LongshoreError

MTIME = 946_684_800
"""2000-01-01 UTC for every file: the same for everybody, and late enough for zip files, whose time starts in 1980."""
COPY_BYTES = 1 << 20
SUBMODULE_MODE = b"160000"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A finished tar: where it lies, the sha256 of its bytes, and how many there are."""

    path: Path
    digest: str
    size: int


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
    """Writes the tar of the project at `root` to `target`; its `files` are found out unless given.

    Raises LongshoreError naming what can't be read.
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


def project_files(root: Path) -> set[str]:
    """Names below `root` of all files and symlinks that belong to the project, and of its empty directories.

    Raises LongshoreError where the folder is a git repository and git can't be asked.
    """
    if (root / ".git").exists():
        return set(_by_git(root))
    return set(_by_walking(root))


def _by_git(root: Path) -> Iterator[str]:
    for line in _git(root, "ls-files", "-z", "--stage"):
        head, _, name = line.partition(b"\t")
        if head.startswith(SUBMODULE_MODE):
            yield from _nested(root, os.fsdecode(name))
        elif os.path.lexists(path := root / os.fsdecode(name)) and not _is_folder(path):
            yield os.fsdecode(name)
    folders = []
    for raw in _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--directory"):
        if raw.endswith(b"/"):
            folders.append(os.fsdecode(raw.rstrip(b"/")))
        else:
            yield os.fsdecode(raw)
    if not folders:
        return
    for raw in _git(root, "ls-files", "-z", "--others", "--exclude-standard"):
        if raw.endswith(b"/"):
            yield from _nested(root, os.fsdecode(raw.rstrip(b"/")))
        else:
            yield os.fsdecode(raw)
    yield from _not_ignored(root, _empty_folders(root, folders))


def _nested(root: Path, name: str) -> Iterator[str]:
    """The files of a submodule or of a repository inside the repository; its folder alone if it is not checked out."""
    if (root / name / ".git").exists():
        yield from (f"{name}/{inner}" for inner in project_files(root / name))
    elif _is_folder(root / name):
        yield name


def _empty_folders(root: Path, folders: Iterable[str]) -> list[str]:
    found = []
    for folder in folders:
        for path, names, files in os.walk(root / folder):
            if ".git" in names or ".git" in files:
                names.clear()
            elif not names and not files:
                found.append(os.path.relpath(path, root))
    return found


def _not_ignored(root: Path, folders: list[str]) -> Iterator[str]:
    if not folders:
        return
    asked = b"".join(os.fsencode(folder) + b"/\0" for folder in folders)
    ignored = {os.fsdecode(name.rstrip(b"/")) for name in _git(root, "check-ignore", "-z", "--stdin", asked=asked)}
    yield from (folder for folder in folders if folder not in ignored)


def _by_walking(root: Path) -> Iterator[str]:
    for path, folders, files in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(path, name))]
        folders[:] = [name for name in folders if name not in links and name != ".git"]
        yield from (os.path.relpath(os.path.join(path, name), root) for name in files + links)
        if not folders and not files and not links and path != str(root):
            yield os.path.relpath(path, root)


def _git(root: Path, *arguments: str, asked: bytes | None = None) -> list[bytes]:
    """What a git command prints, cut at its NULs."""
    # Who may run this project's jobs may read it, whoever owns the folder; and no configured program is run for it.
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C", str(root), *arguments]
    if shutil.which("git") is None:
        raise LongshoreError(f"{root} is a git repository, and git is not installed: install it (apt-get install git)")
    done = subprocess.run(command, input=asked, capture_output=True, check=False)
    nothing_ignored = arguments[0] == "check-ignore" and done.returncode == 1
    if done.returncode != 0 and not nothing_ignored:
        raise LongshoreError(f"git can't list the files of {root}: {os.fsdecode(done.stderr).strip()}")
    return [part for part in done.stdout.split(b"\0") if part]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _with_parents(names: set[str]) -> list[str]:
    """The names and all folders above them, each folder before what is in it."""
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
        return  # gone since it was listed
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
        with open(path, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            try:
                tar.addfile(info, file)
            except OSError as error:
                raise LongshoreError(f"{path} changed while it was packed; try again ({error})") from error
