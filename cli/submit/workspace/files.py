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

from pipeline.file_listing import STAMP, FileStatus, Listing, stamp
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
AN_EXECUTABLE, A_DIRECTORY, A_LINK = 1 << 16, 1 << 17, 1 << 18
"""Added to permission bits of executables and directories; a link has none."""
FILE_MODE, EXECUTABLE_MODE = b"100644", b"100755"
REPLACED = (errno.ELOOP, errno.EINVAL)
"""A file has become a link, or a link a file."""

Known = bytes
"""A STAMP and a raw id."""
OfIndex = Callable[[dict[bytes, FileStatus]], dict[bytes, Known]]
"""What git's index knows of files with these statuses, which it takes out of the dictionary."""


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
    """A repository's files: what is `known` of each, and its permission bits with the kind of file above them.

    One of 200,000 files takes some 200 bytes here: all that can be told from these is told by `entry`. `recent` are
    files that may change again without a difference that git sees.
    """

    known: dict[bytes, Known] = {}
    permissions: dict[bytes, int] = {}
    left_out: list[bytes] = []
    recent: list[bytes] = []

    def entry(self, path: bytes) -> tuple[bytes, bytes] | None:
        """Git's mode and the raw id of a file; None if there is none of that path."""
        bits = self.permissions.get(path)
        return None if bits is None else (_git_mode(bits), self.known[path][STAMP.size :])

    def present(self, path: bytes) -> tuple[bytes, bytes]:
        """The same, of a file that is there."""
        return _git_mode(self.permissions[path]), self.known[path][STAMP.size :]


def _git_mode(bits: int) -> bytes:
    return LINK_MODE if bits & A_LINK else EXECUTABLE_MODE if bits & AN_EXECUTABLE else FILE_MODE


class FileReader:
    """Finds the ids of one repository's files, and writes the objects that the store lacks."""

    def __init__(self, store: SnapshotStore, top: Path, cache: FileCache, of_index: OfIndex) -> None:
        self._store = store
        self._top = os.fsencode(top) + b"/"
        self._cache = cache
        self._of_index = of_index
        self._started = time.time_ns()

    def read(self, listing: Listing, *, trust_modes: bool = True) -> Files:
        """All files of the listing. Without `trust_modes` the index has the modes of the files that git tracks.

        Takes the statuses out of the listing: nobody else needs them, and there may be very many. Raises LongshoreError
        naming the unreadable file.
        """
        result = Files()
        known: dict[bytes, Known] = {}
        modes = result.permissions
        unknown: dict[bytes, FileStatus] = {}
        cached = self._cache.files
        for path, status in listing.files.items():
            if status is not None:
                listing.files[path] = None
            else:
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
            modes[path] = status.mode
            entry = cached.get(path)
            if entry is not None and entry.startswith(status.stamp):
                known[path] = entry
            else:
                unknown[path] = status
        changed = bool(unknown) or len(known) != len(cached)
        if len(unknown) >= SEEDED_FROM:
            found = self._of_index(unknown)
            known = found if not known else known | found
        rest = [path for path in modes if path not in known] if len(known) < len(modes) else []
        del unknown
        for path, read in self._read_all(rest):
            if read is None:
                modes.pop(path, None)
            else:
                modes[path], known[path] = read[0].mode, read[1]
        result.known = known
        if changed:
            old = self._started - RACY_NS
            young = [path for path, entry in known.items() if STAMP.unpack_from(entry)[0] >= old]
            self._cache.files = known if not young else {path: known[path] for path in known.keys() - young}
        new = self._started - RECENT_NS
        result.recent = [path for path, entry in known.items() if STAMP.unpack_from(entry)[1] >= new]
        _set_permissions(modes, {} if trust_modes else _index_modes(listing))
        return result

    def _read_all(self, paths: list[bytes]) -> Iterator[tuple[bytes, tuple[FileStatus, Known] | None]]:
        """Statuses and ids of files, whose objects exist afterwards; None for those that are gone."""
        if len(paths) > SEEDED_FROM:
            with ThreadPoolExecutor(READERS, "files") as pool:
                hashed = dict(zip(paths, pool.map(self._hash, paths, chunksize=16), strict=True))
        else:
            hashed = {path: self._hash(path) for path in paths}
        there = (read for read in hashed.values() if read is not None)
        missing = self._store.missing({_id_of(known).hex(): status.size for status, known in there})
        for path, read in hashed.items():
            if read is not None and _id_of(read[1]).hex() in missing:
                read = self._write(path)
                self._store.written += read[0].size if read is not None else 0
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
                _, *others = STAMP.unpack(status.stamp)
                return status, (status.stamp if settled else stamp(self._started, *others)) + id
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


def _id_of(known: Known) -> bytes:
    return known[STAMP.size :]


def _set_permissions(modes: dict[bytes, int], of_index: Mapping[bytes, bytes]) -> None:
    """Replaces modes by permission bits with the kind above them, those of files in `of_index` by git's modes there."""
    shared: dict[int, int] = {}
    for path, mode in modes.items():
        if stat.S_ISLNK(mode):
            modes[path] = A_LINK
            continue
        bits = mode & PERMISSIONS
        if path in of_index:
            bits = 0o755 if of_index[path] == EXECUTABLE_MODE else 0o644
        if bits & EXECUTABLE:
            bits |= AN_EXECUTABLE
        modes[path] = shared.setdefault(bits, bits)


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


def common_modes(*permissions: Mapping[bytes, int]) -> Modes:
    """Permission bits of files and directories, the most frequent ones as the usual ones."""
    usual = {0: 0o644, AN_EXECUTABLE: AN_EXECUTABLE | 0o755, A_DIRECTORY: A_DIRECTORY | 0o755}
    counts = sum((Counter(each.values()) for each in permissions), Counter[int]())
    for bits, _ in sorted(counts.items(), key=lambda item: (item[1], -item[0])):
        usual[bits & ~PERMISSIONS] = bits
    modes = Modes(
        file=usual[0],
        executable=usual[AN_EXECUTABLE] & PERMISSIONS,
        directory=usual[A_DIRECTORY] & PERMISSIONS,
    )
    for each in permissions:
        modes = with_modes(modes, each)
    return modes


def with_modes(modes: Modes, permissions: Mapping[bytes, int]) -> Modes:
    """The same usual bits, and beside its other ones those of `permissions` that are not usual."""
    usual = {modes.file, modes.executable | AN_EXECUTABLE, modes.directory | A_DIRECTORY, A_LINK}
    other = {path: bits & PERMISSIONS for path, bits in permissions.items() if bits not in usual}
    return msgspec.structs.replace(modes, other=dict(sorted((modes.other | other).items())))


def _shown(path: bytes) -> str:
    return os.fsencode(os.fsdecode(path)).decode("utf-8", "replace")
