"""Unpacks checkouts as an engine does, and a store to take them from."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path

from daemon.checkouts.store import CheckoutStores, StoredWorkspace
from daemon.executors.base import CheckoutOptions, Layer
from protocol.workspace import GitWorkspace, Pack
from tests.support.git_workspaces import Client

FULL = CheckoutOptions(depth=0)


class Host:
    """A worker's host: a store, and a directory for each attempt."""

    def __init__(self, directory: Path, client: Client, limit: int = 1 << 30) -> None:
        self.directory = directory
        self.client = client
        self.store = CheckoutStores(directory / "store", limit)
        self.attempts = 0

    def workspace(self, ref: GitWorkspace, project: str = "project") -> StoredWorkspace:
        """A workspace for a new attempt."""
        self.attempts += 1
        pins = self.directory / "jobs" / str(self.attempts)
        return self.store.workspace(ref, project, self.fetch, pins, lambda pack: self._fetched(pack).unlink())

    def fetch(self, pack: Pack) -> Path:
        """A copy of a pack, as a download makes it."""
        self._fetched(pack).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.client.fetch(pack), self._fetched(pack))
        return self._fetched(pack)

    def _fetched(self, pack: Pack) -> Path:
        return self.directory / "fetched" / pack.digest

    def release(self) -> None:
        """Ends all attempts."""
        for name in ("jobs", "fetched"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def checkout(self, ref: GitWorkspace, target: Path, options: CheckoutOptions = FULL) -> Path:
        """The checkout's tar, unpacked."""
        return unpack([self.workspace(ref).checkout(options).tar().read_bytes()], target)

    def stack(self, ref: GitWorkspace, target: Path, options: CheckoutOptions = FULL) -> Path:
        """The checkout's layers, unpacked over each other."""
        return unpack(archives(self.workspace(ref).checkout(options).layers((0, 0), opened=False)), target)


def archives(layers: Iterable[Layer]) -> list[bytes]:
    """The layers' tars."""
    return [b"".join(layer.archive()) for layer in layers]


def unpack(tars: Iterable[bytes], target: Path) -> Path:
    """Unpacks tars, each over those before it, as overlayfs shows layers."""
    target.mkdir(parents=True)
    for data in tars:
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
            tar.extraction_filter = lambda member, _: member  # as an argument, Python 3.11.2 does not know it
            for member in tar:
                path = target / member.name
                assert ".." not in path.parts
                if member.ischr():
                    assert (member.devmajor, member.devminor) == (0, 0)
                    _remove(path)
                    continue
                if not (member.isdir() and _is_directory(path)):
                    _remove(path)
                tar.extract(member, target)
        _set_times(target, data)
    return target


def _set_times(target: Path, data: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        for member in reversed(tar.getmembers()):
            if not member.ischr():
                os.utime(target / member.name, (member.mtime, member.mtime), follow_symlinks=False)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_directory(path):
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def listing(top: Path, *, without: tuple[str, ...] = (".git",)) -> dict[bytes, tuple[int, bytes]]:
    """Mode and content of all files, links and directories, by path."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for directory, directories, files in os.walk(os.fsencode(top)):
        if Path(os.fsdecode(directory)) == top:
            directories[:] = [name for name in directories if os.fsdecode(name) not in without]
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            content = b""
            if stat.S_ISLNK(mode):
                content = os.readlink(path)
            elif stat.S_ISREG(mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(top))] = (mode, content)
    return found
