"""A write-ahead journal that makes small writes to many files durable with one sync. Knows only files and offsets.

Syncing a new or grown file makes the file system commit its metadata, together with all other pending changes: a
millisecond each, tens of them beside a busy Docker. The bytes therefore also go into a journal: two files of fixed
size, overwritten in turn, whose sync touches no metadata (0.2 ms). The files themselves are synced in the background
when a journal file is full. After a crash, the journal is replayed into the files.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

JOURNAL_BYTES = 4 << 20
"""Size of each of the two files: some thousand log pieces."""
SYNC_THREADS = 8
"""Files are synced in parallel: the file system then commits many of them at once."""
HEADER = struct.Struct("<8sIQQII")
"""Magic, checksum of everything after it, lap, offset, and the lengths of path and data, which follow the header."""
CHECKED_FROM = 12
MAGIC = b"LONGJRNL"


class Write(msgspec.Struct, frozen=True):
    """Bytes at an offset of a file; `path` is relative to the journal's directory."""

    path: str
    offset: int
    data: bytes


class _Lap(msgspec.Struct):
    """One pass through a journal file, from empty to full."""

    number: int
    descriptor: int
    end: int = 0
    unsynced: set[str] = set()  # files whose bytes are durable only in the journal


class Journal:
    """The journal of `directory`, recovered on opening after a crash. Used by one thread.

    Every method raises OSError when the disk fails, and can then be retried.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths = (directory / "journal-0", directory / "journal-1")
        self._threads = ThreadPoolExecutor(SYNC_THREADS, "log sync")
        self._background = ThreadPoolExecutor(1, "journal")
        self._before: tuple[_Lap, Future[None]] | None = None  # the previous lap, whose files are being synced
        self._lap = self._open(self._recover() + 1)

    @property
    def lap(self) -> int:
        """The number of the current lap."""
        return self._lap.number

    def write(self, writes: Sequence[Write]) -> None:
        """Makes bytes durable that the caller has already written to the files. At most `JOURNAL_BYTES` in all."""
        records = b"".join(_packed(write, self._lap.number) for write in writes)
        if self._lap.end + len(records) > JOURNAL_BYTES:
            self._next_lap()
            records = b"".join(_packed(write, self._lap.number) for write in writes)
        _overwrite(self._lap.descriptor, records, self._lap.end)
        self._lap.end += len(records)
        self._lap.unsynced.update(write.path for write in writes)

    def sync(self, paths: Collection[str], *, new: Collection[str]) -> None:
        """Syncs these files, and the directory entries of the `new` ones. For large writes."""
        named = self._lap.unsynced | (set(self._before[0].unsynced) if self._before else set())
        self._sync(paths, unnamed=[path for path in paths if path in new or path in named])
        self._lap.unsynced.difference_update(paths)

    def _sync(self, paths: Collection[str], unnamed: Collection[str]) -> None:
        if len(paths) == 1:
            self._sync_file(next(iter(paths)))
        else:
            for result in [self._threads.submit(self._sync_file, path) for path in paths]:
                result.result()
        folders = {os.path.dirname(path) for path in unnamed}
        for folder in [*folders, ""] if folders else []:
            with suppress(FileNotFoundError):  # removed meanwhile
                sync_directory(self._directory / folder)

    def close(self) -> None:
        """Syncs the files, so that the next start has nothing to recover; after an error, that start recovers."""
        with suppress(OSError):
            self._settle_before()
            self._sync(self._lap.unsynced, self._lap.unsynced)
            self._empty()
        self._background.shutdown()
        self._threads.shutdown()
        os.close(self._lap.descriptor)

    def _open(self, number: int) -> _Lap:
        """Opens a lap's file, fully allocated and synced before it is overwritten."""
        path = self._paths[number % 2]
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(descriptor).st_size != JOURNAL_BYTES:
                os.pwrite(descriptor, bytes(JOURNAL_BYTES), 0)
                os.fsync(descriptor)
                sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            raise
        return _Lap(number, descriptor)

    def _next_lap(self) -> None:
        """Switches to the other journal file, once its bytes have reached their files; starts syncing this one's."""
        self._settle_before()
        following = self._open(self._lap.number + 1)
        self._before = self._lap, self._sync_lap(self._lap)
        self._lap = following

    def _settle_before(self) -> None:
        """Waits until the previous lap is synced. After a failure, restarts the sync and raises the error."""
        if self._before is None:
            return
        lap, synced = self._before
        try:
            synced.result()
        except OSError:
            self._before = lap, self._sync_lap(lap)
            raise
        os.close(lap.descriptor)
        self._before = None

    def _sync_lap(self, lap: _Lap) -> Future[None]:
        paths = tuple(lap.unsynced)
        return self._background.submit(self._sync, paths, paths)

    def _sync_file(self, path: str) -> None:
        with suppress(FileNotFoundError):  # removed meanwhile
            descriptor = os.open(self._directory / path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)

    # after a crash

    def _recover(self) -> int:
        """Replays the journal into the files. Returns the number of the newest lap."""
        laps = sorted(filter(None, map(_read_lap, self._paths)), key=lambda lap: lap[0])
        paths: set[str] = set()
        for _, writes in laps:
            for write in writes:
                target = self._directory / write.path
                target.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    os.pwrite(descriptor, write.data, write.offset)
                finally:
                    os.close(descriptor)
                paths.add(write.path)
        self._sync(paths, paths)
        self._empty()
        return laps[-1][0] if laps else 0

    def _empty(self) -> None:
        """Invalidates the journal, so that synced records are not replayed."""
        for path in self._paths:
            if path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    _overwrite(descriptor, bytes(HEADER.size), 0)
                finally:
                    os.close(descriptor)


def _overwrite(descriptor: int, data: bytes, at: int) -> None:
    """Overwrites already allocated bytes of a file, and syncs it."""
    if os.pwrite(descriptor, data, at) != len(data):
        raise OSError(errno.EIO, "the log journal could not be written")
    os.fdatasync(descriptor)


def _packed(write: Write, lap: int) -> bytes:
    path = write.path.encode()
    checked = HEADER.pack(MAGIC, 0, lap, write.offset, len(path), len(write.data))[CHECKED_FROM:] + path + write.data
    return MAGIC + zlib.crc32(checked).to_bytes(CHECKED_FROM - len(MAGIC), "little") + checked


def _read_lap(path: Path) -> tuple[int, list[Write]] | None:
    """The number of the lap in a file, with its writes up to a torn record."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    records = list(_records(content))
    if not records:
        return None
    number = records[0][0]
    writes = []
    for lap, write in records:
        if lap != number:  # the rest is left over from an earlier lap
            break
        writes.append(write)
    return number, writes


def _records(content: memoryview) -> Iterator[tuple[int, Write]]:
    at = 0
    while at + HEADER.size <= len(content):
        magic, checksum, lap, offset, path_length, length = HEADER.unpack_from(content, at)
        body = at + HEADER.size
        end = body + path_length + length
        if magic != MAGIC or end > len(content) or zlib.crc32(content[at + CHECKED_FROM : end]) != checksum:
            return
        path = bytes(content[body : body + path_length]).decode()
        yield lap, Write(path, offset, bytes(content[body + path_length : end]))
        at = end


def sync_directory(directory: str | Path) -> None:
    """Makes a directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
