"""Ids of a repository's files as they are on disk: from earlier snapshots, from git's index, or by reading them."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from cli.submit.workspace.index_file import LOW, Seed
from pipeline.file_listing import FileStatus, Listing
from protocol.decoders import from_msgpack
from protocol.errors import LongshoreError
from protocol.workspace import Modes
from snapshots.objects import LINK_MODE, hasher, object_id, write_loose
from snapshots.store import SnapshotStore, update_file

AT_ONCE_BYTES = 4 << 20
"""Files up to this size are read at once, so that they are whole."""
RACY_NS = 2_000_000_000
"""A file changed this recently may change again without another time: file systems count up to two seconds."""
RECENT_NS = RACY_NS
"""Age of a file's last change, of its mode too, below which git, which compares seconds, might not see the next one."""
SEEDED_FROM = 32
"""Unknown files from which reading the index costs less than reading the files."""
READERS = 4
TRIES = 5
"""Attempts to read a file that changes meanwhile."""
PERMISSIONS = 0o7777
EXECUTABLE = 0o100
AN_EXECUTABLE, A_DIRECTORY = 1 << 16, 1 << 17
"""Added to permission bits of executables and directories."""
FILE_MODE, EXECUTABLE_MODE = b"100644", b"100755"
REPLACED = (errno.ELOOP, errno.EINVAL)
"""A file has become a link, or a link a file."""

Known = tuple[int, int, int, int, bytes]
"""mtime and ctime in ns, inode, size, raw id."""
Seeds = Callable[[list[bytes]], dict[bytes, Seed]]
"""Entries of git's index, of these paths, whose files have the very bytes of their blobs."""


class FileCache(msgspec.Struct):
    """What earlier snapshots found: files by path, and trees that exist."""

    files: dict[bytes, Known] = {}
    trees: set[bytes] = set()

    @classmethod
    def load(cls, path: Path) -> FileCache:
        """The stored cache; an empty one if there is none."""
        try:
            return from_msgpack(path.read_bytes(), cls)
        except (OSError, msgspec.MsgspecError):
            return cls()

    def save(self, path: Path) -> None:
        """Stores the cache."""
        update_file(path, msgspec.msgpack.encode(self))


class Files(msgspec.Struct):
    """A repository's files: (git's mode, raw id) by path, and permission bits with the kind of file above them.

    `known` has the statuses and ids. `recent` are files that may change again without a difference that git sees.
    """

    found: dict[bytes, tuple[bytes, bytes]] = {}
    permissions: dict[bytes, int] = {}
    left_out: list[bytes] = []
    known: dict[bytes, Known] = {}
    recent: list[bytes] = []


class FileReader:
    """Finds the ids of one repository's files, and writes the objects that the store lacks."""

    def __init__(self, store: SnapshotStore, top: Path, cache: FileCache, seeds: Seeds) -> None:
        self._store = store
        self._top = os.fsencode(top) + b"/"
        self._cache = cache
        self._seeds = seeds
        self._started = time.time_ns()

    def read(self, listing: Listing, *, trust_modes: bool = True) -> Files:
        """All files of the listing. Without `trust_modes` the index has the modes of the files that git tracks.

        Raises LongshoreError naming the unreadable file.
        """
        result = Files()
        statuses: dict[bytes, FileStatus] = {}
        known: dict[bytes, Known] = {}
        unknown: list[bytes] = []
        cached = self._cache.files
        for path, status in listing.files.items():
            if status is None:
                try:
                    status = FileStatus.of(os.lstat(self._top + path))
                except (FileNotFoundError, NotADirectoryError):
                    continue  # deleted since it was listed
            kind = stat.S_IFMT(status.mode)
            if kind != stat.S_IFREG and kind != stat.S_IFLNK:
                continue
            if b".git" in path.lower() and b".git" in path.lower().split(b"/"):
                result.left_out.append(path)
                continue
            statuses[path] = status
            entry = cached.get(path)
            if (
                entry is not None
                and entry[0] == status.mtime_ns
                and entry[1] == status.ctime_ns
                and entry[2] == status.inode
                and entry[3] == status.size
            ):
                known[path] = entry
            else:
                unknown.append(path)
        changed = bool(unknown) or len(known) != len(cached)
        if len(unknown) >= SEEDED_FROM:
            unknown = self._seed(unknown, statuses, known)
        for path, read in self._read_all(unknown):
            if read is None:
                statuses.pop(path, None)
            else:
                statuses[path], known[path] = read
        result.known = known
        if changed:
            self._cache.files = {path: entry for path, entry in known.items() if entry[0] < self._started - RACY_NS}
        result.recent = [path for path, entry in known.items() if entry[1] >= self._started - RECENT_NS]
        _collect(result, statuses, {} if trust_modes else _index_modes(listing))
        return result

    def _seed(self, unknown: list[bytes], statuses: dict[bytes, FileStatus], known: dict[bytes, Known]) -> list[bytes]:
        """Adds to `known` what git's index knows; returns the rest."""
        seeds = self._seeds(unknown)
        rest = []
        for path in unknown:
            seed, status = seeds.get(path), statuses[path]
            if (
                seed is not None
                and seed.mtime_ns == status.mtime_ns
                and seed.ctime_ns == status.ctime_ns
                and seed.inode == status.inode & LOW
                and seed.size == status.size & LOW
            ):
                known[path] = (status.mtime_ns, status.ctime_ns, status.inode, status.size, seed.id)
            else:
                rest.append(path)
        return rest

    def _read_all(self, paths: list[bytes]) -> Iterator[tuple[bytes, tuple[FileStatus, Known] | None]]:
        """Statuses and ids of files, whose objects exist afterwards; None for those that are gone."""
        if len(paths) > SEEDED_FROM:
            with ThreadPoolExecutor(READERS, "files") as pool:
                hashed = dict(zip(paths, pool.map(self._hash, paths, chunksize=16), strict=True))
        else:
            hashed = {path: self._hash(path) for path in paths}
        missing = self._store.missing({read[1][4].hex(): read[1][3] for read in hashed.values() if read is not None})
        for path, read in hashed.items():
            if read is not None and read[1][4].hex() in missing:
                read = self._write(path)
                self._store.written += read[1][3] if read is not None else 0
            yield path, read

    def _hash(self, path: bytes) -> tuple[FileStatus, Known] | None:
        return self._attempt(path, write=False)

    def _write(self, path: bytes) -> tuple[FileStatus, Known] | None:
        return self._attempt(path, write=True)

    def _attempt(self, path: bytes, *, write: bool) -> tuple[FileStatus, Known] | None:
        """A file may change while it is read: a log, an editor's save. Then it is read again."""
        self._store.git.check()
        for _ in range(TRIES):
            try:
                read = self._read_link if os.path.islink(self._top + path) else self._read
                status, id, settled = read(path, write)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            except OSError as error:
                if error.errno in REPLACED:
                    continue
                raise LongshoreError(f"can't read {_shown(self._top + path)}: {error.strerror}") from error
            if id is not None:
                changed = status.mtime_ns if settled else self._started
                return status, (changed, status.ctime_ns, status.inode, status.size, id)
        raise LongshoreError(f"{_shown(self._top + path)} changed while it was read; try again")

    def _read_link(self, path: bytes, write: bool) -> tuple[FileStatus, bytes | None, bool]:
        status = FileStatus.of(os.lstat(self._top + path))
        return status, self._object(os.readlink(self._top + path), write), True

    def _read(self, path: bytes, write: bool) -> tuple[FileStatus, bytes | None, bool]:
        """Status, id, and whether the file did not change meanwhile. No id: it has to be read again."""
        with open(os.open(self._top + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
            status = FileStatus.of(os.fstat(file.fileno()))
            if not stat.S_ISREG(status.mode):
                raise FileNotFoundError
            small = status.size <= AT_ONCE_BYTES
            id = self._object(file.read(AT_ONCE_BYTES), write) if small else self._stream(file, status.size, write)
            same = FileStatus.of(os.fstat(file.fileno()))
            settled = (same.mtime_ns, same.size) == (status.mtime_ns, status.size)
            return status, id if small or settled else None, settled

    def _stream(self, file: io.FileIO, size: int, write: bool) -> bytes | None:
        pieces = iter(lambda: file.read(AT_ONCE_BYTES), b"")
        if write:
            return write_loose(self._store.objects, self._store.object_format, b"blob", size, pieces)
        made = hasher(self._store.object_format, b"blob", size)
        for piece in pieces:
            made.update(piece)
        return made.digest()

    def _object(self, data: bytes, write: bool) -> bytes | None:
        if write:
            return write_loose(self._store.objects, self._store.object_format, b"blob", len(data), iter((data,)))
        return object_id(self._store.object_format, b"blob", data)


def _collect(result: Files, statuses: dict[bytes, FileStatus], modes: dict[bytes, bytes]) -> None:
    """Git's modes and permission bits, those of files in `modes` by the index."""
    for path, status in statuses.items():
        id = result.known[path][4]
        if stat.S_ISLNK(status.mode):
            result.found[path] = LINK_MODE, id
            continue
        bits = status.mode & PERMISSIONS
        if path in modes:
            bits = 0o755 if modes[path] == EXECUTABLE_MODE else 0o644
        if bits & EXECUTABLE:
            result.found[path] = EXECUTABLE_MODE, id
            bits |= AN_EXECUTABLE
        else:
            result.found[path] = FILE_MODE, id
        result.permissions[path] = bits


def _index_modes(listing: Listing) -> dict[bytes, bytes]:
    modes = {}
    for line in listing.index:
        head, _, path = line.partition(b"\t")
        if head[2:5] == b"100":
            modes[path] = head[2:8]
    return modes


def folder_permissions(top: Path, folders: Iterable[bytes]) -> dict[bytes, int]:
    """Permission bits, with their kind above them, of those directories that exist."""
    found = {}
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            found[folder] = os.lstat(os.path.join(os.fsencode(top), folder)).st_mode & PERMISSIONS | A_DIRECTORY
    return found


def folders_of(paths: Iterable[bytes]) -> set[bytes]:
    """All directories that contain the paths."""
    found: set[bytes] = set()
    for path in paths:
        folder = path.rpartition(b"/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition(b"/")[0]
    return found


def common_modes(permissions: Mapping[bytes, int]) -> Modes:
    """Permission bits of files and directories, the most frequent ones as the usual ones."""
    usual = {0: 0o644, AN_EXECUTABLE: AN_EXECUTABLE | 0o755, A_DIRECTORY: A_DIRECTORY | 0o755}
    for bits, _ in sorted(Counter(permissions.values()).items(), key=lambda item: (item[1], -item[0])):
        usual[bits & ~PERMISSIONS] = bits
    modes = Modes(
        file=usual[0],
        executable=usual[AN_EXECUTABLE] & PERMISSIONS,
        directory=usual[A_DIRECTORY] & PERMISSIONS,
    )
    return with_modes(modes, permissions)


def with_modes(modes: Modes, permissions: Mapping[bytes, int]) -> Modes:
    """The same usual bits, and beside its other ones those of `permissions` that are not usual."""
    usual = {modes.file, modes.executable | AN_EXECUTABLE, modes.directory | A_DIRECTORY}
    other = {path: bits & PERMISSIONS for path, bits in permissions.items() if bits not in usual}
    return msgspec.structs.replace(modes, other=dict(sorted((modes.other | other).items())))


def _shown(path: bytes) -> str:
    return os.fsencode(os.fsdecode(path)).decode("utf-8", "replace")
