"""A project's snapshot repository in the user's cache directory: objects that the user's own one lacks.

Its alternates are the user's objects, which are never written to. It can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from protocol.files import replace_file
from protocol.places import cache_directory
from protocol.workspace import MANIFEST, STAGED, Manifest
from snapshots.objects import TREE_MODE, commit_data, object_id, tree_data, write_loose
from snapshots.processes import Git

KEPT_SNAPSHOTS = 20
"""Newest snapshots whose objects are kept."""
UNUSED_SECONDS = 30 * 86400.0
"""Age since the last use at which a project's repository is removed."""
PRUNE_SECONDS = 86400.0
"""Time between two removals of old objects."""
PRUNED_AGE = "2.hours.ago"
"""Age of removed objects: longer than a snapshot takes."""
FEW, SMALL = 64, 1 << 20
"""Objects, and their bytes, that are written in less time than a process takes to tell which of them exist."""
CONFIG = """\
[core]
	bare = true
	repositoryformatversion = {version}
[gc]
	auto = 0
[pack]
	compression = 1
"""


def cache_home() -> Path:
    """Directory of all snapshot repositories."""
    return cache_directory() / "snapshots"


class SnapshotStore:
    """The snapshot repository of the project at `root`, in `home`; by default, in the user's cache directory."""

    def __init__(self, git: Git, root: Path, object_format: str, home: Path | None = None) -> None:
        self.git = git
        self.object_format = object_format
        self.written = 0  # bytes of files, in this process
        self.zero = "0" * (40 if object_format == "sha1" else 64)
        key = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.directory = self._usable((home or cache_home()) / f"{key}-{object_format}")
        self.objects = self.directory / "objects"
        self.packs = self.directory / "sent"
        self.where = ("--git-dir", str(self.directory))

    def _usable(self, directory: Path) -> Path:
        """The directory, or a temporary one if it can't be written to."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.utime(directory)
            with tempfile.TemporaryFile(dir=directory):
                return directory
        except OSError:
            self._temporary = tempfile.TemporaryDirectory(prefix="longshore-")
            return Path(self._temporary.name)

    def close(self) -> None:
        """Removes a temporary repository."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def open(self, objects: Path) -> None:
        """Makes the repository, on top of the user's `objects`."""
        for folder in (self.objects / "info", self.objects / "pack", self.directory / "refs" / "snapshots", self.packs):
            folder.mkdir(parents=True, exist_ok=True)
        config = CONFIG.format(version=0)
        if self.object_format != "sha1":
            config = CONFIG.format(version=1) + f"[extensions]\n\tobjectFormat = {self.object_format}\n"
        update_file(self.directory / "config", config.encode())
        update_file(self.objects / "info" / "alternates", _quoted(objects) + b"\n")
        update_file(self.directory / "HEAD", b"ref: refs/heads/none\n")  # last: what makes it a repository

    def add_objects(self, objects: Path) -> None:
        """Adds the objects of a submodule."""
        alternates = self.objects / "info" / "alternates"
        known, line = alternates.read_bytes(), _quoted(objects) + b"\n"
        if line not in known.splitlines(keepends=True):
            update_file(alternates, known + line)

    def forget(self) -> None:
        """Drops what earlier snapshots found."""
        for path in (*self.directory.glob("files-*"), *self.directory.glob("basis-*"), self.directory / "commits"):
            path.unlink(missing_ok=True)

    def sizes(self, ids: Iterable[str]) -> dict[str, int]:
        """Sizes of those objects that exist."""
        asked = "".join(f"{id}\n" for id in ids).encode()
        if not asked:
            return {}
        format = "--batch-check=%(objectname) %(objectsize)"
        answer = self.git.run(self.where, "cat-file", "--buffer", format, asked=asked)
        found = (line.split(" ") for line in answer.decode().splitlines())
        return {id: int(size) for id, size in found if size != "missing"}

    def missing(self, sizes: Mapping[str, int]) -> set[str]:
        """Those of the objects, whose sizes are given, that have to be written: a few small ones without a question."""
        if len(sizes) <= FEW and sum(sizes.values()) <= SMALL:
            return set(sizes)
        return set(sizes) - self.sizes(sizes).keys()

    def read(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Contents of small objects, of those that exist."""
        asked = "".join(f"{id}\n" for id in ids).encode()
        found: dict[str, bytes] = {}
        answer = self.git.run(self.where, "cat-file", "--batch", asked=asked) if asked else b""
        while answer:
            head, _, answer = answer.partition(b"\n")
            id, *kind_and_size = head.decode().split(" ")
            if len(kind_and_size) == 2:
                size = int(kind_and_size[1])
                found[id], answer = answer[:size], answer[size + 1 :]
        return found

    def write(self, kind: bytes, data: bytes) -> str:
        """Writes an object and returns its id."""
        id = object_id(self.object_format, kind, data)
        path = self.objects / id.hex()[:2] / id.hex()[2:]
        try:
            os.utime(path)  # not removed as an old object
        except FileNotFoundError:
            write_loose(self.objects, self.object_format, kind, len(data), iter((data,)))
        return id.hex()

    def write_snapshot(self, manifest: Manifest, staged: Iterable[str], files: Iterable[bytes]) -> str:
        """Writes a snapshot's tree, and keeps it; its id. `files` are the trees (raw ids) of its repositories."""
        data = msgspec.msgpack.encode(manifest)
        blobs = ((id.encode(), b"100644", bytes.fromhex(id)) for id in staged)
        entries = [
            (MANIFEST.encode(), b"100644", bytes.fromhex(self.write(b"blob", data))),
            (STAGED.encode(), TREE_MODE, bytes.fromhex(self.write(b"tree", tree_data(blobs)))),
            *((str(number).encode(), TREE_MODE, tree) for number, tree in enumerate(files)),
        ]
        snapshot = self.write(b"tree", tree_data(entries))
        self.keep(snapshot)
        return snapshot

    def keep(self, snapshot: str) -> None:
        """Keeps a snapshot's objects, until KEPT_SNAPSHOTS newer ones are kept."""
        folder = self.directory / "refs" / "snapshots"
        if not (folder / snapshot).exists():
            update_file(folder / snapshot, f"{self.write(b'commit', commit_data(snapshot))}\n".encode())
        os.utime(folder / snapshot)
        for old in _newest(folder)[KEPT_SNAPSHOTS:]:
            old.unlink(missing_ok=True)

    def holder(self, snapshot: str) -> str | None:
        """The commit that holds a kept snapshot."""
        try:
            return (self.directory / "refs" / "snapshots" / snapshot).read_text().strip()
        except FileNotFoundError:
            return None

    def tidy(self) -> None:
        """Starts the removal of old objects and of repositories of unused projects, if it is time."""
        stamp = self.directory / "tidied"
        with suppress(OSError):
            if not stamp.exists():
                stamp.touch()
            if time.time() - stamp.stat().st_mtime < PRUNE_SECONDS:
                return
            with stamp.open("a") as lock:  # held by the process until it ends
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.utime(stamp)
                _remove_unused(self.directory)
                subprocess.Popen(
                    ["git", "--git-dir", str(self.directory), "prune", f"--expire={PRUNED_AGE}"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[lock.fileno()],
                    start_new_session=True,
                    env={key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
                )


def _remove_unused(kept: Path) -> None:
    for directory in kept.parent.iterdir():
        if directory != kept and time.time() - directory.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(directory, ignore_errors=True)


def _newest(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _quoted(folder: Path) -> bytes:
    """A folder as a line of `objects/info/alternates`."""
    raw = os.fsencode(folder)
    if not any(byte in raw for byte in b'\n"\\'):
        return raw
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def update_file(path: Path, data: bytes) -> None:
    """Writes a file atomically, unless it has this content."""
    with suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    replace_file(path, data)
