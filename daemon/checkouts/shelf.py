"""Size-bounded shelf of named sets of files on this host, which several processes share. Knows no git.

A set appears complete, by rename. Its users pin it with hard links of its files in a directory of their own; a set with
such links is never evicted. So no lock guards the shelf, and a killed process leaves nothing but partial files.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import IO
from uuid import uuid4
from zlib import crc32

import msgspec

from protocol.decoders import from_msgpack
from protocol.keys import PRIVATE_DIRECTORY

EVICT_DOWN_TO = 0.9
"""Share of the limit that an eviction leaves, so that not every new set triggers one."""
OWNER = "owner-"
"""What the names of processes' lock files begin with."""
LOCKS = 64
"""Lock files: makers of different sets rarely share one."""
NOTE = "note"
"""The file of each set that lists the sizes of the others: it detects damage by a crash of the host."""

logger = logging.getLogger(__name__)


def _lock(file: IO[str]) -> bool:
    """Locks a file, unless another thread or process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Set(msgspec.Struct):
    path: Path
    used: float
    files: list[tuple[int, int, int]]  # inode, size, links


class Shelf:
    """The shelf in `directory`, of at most `limit` bytes; evicts sets unused for `keep_for` seconds."""

    def __init__(self, directory: Path, limit: int, keep_for: float | None = None) -> None:
        self._sets = directory / "sets"
        self._partial = directory / "partial"
        self._locks = directory / "locks"
        self._limit = limit
        self._keep_for = keep_for
        self._lock = RLock()
        self._owner = uuid4().hex
        self._owner_lock: IO[str] | None = None  # held for the process's life: its partial sets are in use
        self._size: int | None = None  # this process's estimate; recounted when it exceeds the limit

    @contextmanager
    def partial(self) -> Iterator[Path]:
        """A fresh directory, removed at the end unless `put` has taken it."""
        path = self._fresh()
        path.mkdir(parents=True, mode=PRIVATE_DIRECTORY)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _fresh(self) -> Path:
        """A name for a partial set, which begins with that of the process's lock file."""
        with self._lock:
            if self._owner_lock is None:
                self._locks.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
                new = self._locks / f"new-{self._owner}"
                self._owner_lock = new.open("a")
                fcntl.flock(self._owner_lock, fcntl.LOCK_EX)
                new.rename(self._locks / f"{OWNER}{self._owner}")  # locked before anyone can look
        return self._partial / f"{self._owner}-{uuid4().hex}"

    @contextmanager
    def making(self, shelf: str, name: str, pause: Callable[[], None]) -> Iterator[None]:
        """Lets one thread of all processes at a time make a set: others wait, and find it.

        Whoever makes a set may meanwhile make one of another kind. `pause` is called as long as the set is being made;
        what it raises ends the wait.
        """
        self._locks.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        kind, number = name.split("-")[0], crc32(f"{shelf}/{name}".encode()) % LOCKS
        with (self._locks / f"{kind}-{number}").open("a") as file:
            while not _lock(file):
                pause()
            yield

    def names(self, shelf: str, kind: str) -> list[str]:
        """Names of a kind's sets, most recently used first."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for path in (self._sets / shelf).iterdir():
                if path.name.startswith(f"{kind}-"):
                    with contextlib.suppress(OSError):
                        found.append((path.stat().st_mtime, path.name))
        return [name for _, name in sorted(found, reverse=True)]

    def pin(self, shelf: str, name: str, pins: Path) -> Path | None:
        """The set's directory below `pins`, with links of its files; None if there is no such set."""
        pinned = pins / name
        if pinned.is_dir():
            return pinned
        path = self._sets / shelf / name
        part = pins / uuid4().hex
        try:
            sizes = from_msgpack((path / NOTE).read_bytes(), dict[str, int])
            part.mkdir(parents=True)
            for file, size in sizes.items():
                os.link(path / file, part / file)
                if (part / file).stat().st_size != size:
                    raise ValueError(f"{file} has another size")
            os.utime(path)
            os.rename(part, pinned)
        except FileNotFoundError:
            shutil.rmtree(part, ignore_errors=True)
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            shutil.rmtree(part, ignore_errors=True)
            if pinned.is_dir():  # another thread was faster
                return pinned
            logger.warning("%s is damaged and made again: %s", path, error)
            self.drop(shelf, name)
            return None
        return pinned

    def put(self, shelf: str, name: str, made: Path, pins: Path) -> Path:
        """Moves a directory of files, made in `partial`, to the shelf. Returns its pin."""
        sizes = {file.name: file.stat().st_size for file in made.iterdir()}
        (made / NOTE).write_bytes(msgspec.msgpack.encode(sizes))
        pinned = pins / name
        if not pinned.is_dir():  # first, so that it can't be evicted in between
            part = pins / uuid4().hex
            part.mkdir(parents=True)
            for file in sizes:
                os.link(made / file, part / file)
            try:
                os.rename(part, pinned)
            except OSError:
                shutil.rmtree(part, ignore_errors=True)
                if not pinned.is_dir():
                    raise
        path = self._sets / shelf / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        with contextlib.suppress(FileExistsError, OSError):
            os.rename(made, path)  # fails if another process was faster
        with self._lock:
            self._size = self._count() if self._size is None else self._size + sum(sizes.values())
            if self._size > self._limit:
                self._evict()
        return pinned

    def drop(self, shelf: str, name: str) -> None:
        """Removes a set; users keep their pins."""
        self._remove(self._sets / shelf / name)

    def trim(self) -> None:
        """Evicts expired sets, and removes leftovers of killed processes."""
        living = {owner for owner in self._owners() if not self._has_ended(owner)}
        with contextlib.suppress(FileNotFoundError):
            for path in self._partial.iterdir():
                if path.name.split("-")[0] not in living:
                    shutil.rmtree(path, ignore_errors=True)
        with self._lock:
            self._evict(time.time() - self._keep_for if self._keep_for is not None else 0.0)

    def _owners(self) -> list[str]:
        """Processes with a lock file."""
        return [path.name.removeprefix(OWNER) for path in self._locks.glob(f"{OWNER}*")]

    def _has_ended(self, owner: str) -> bool:
        """Whether a process has ended; removes its lock file then."""
        path = self._locks / f"{OWNER}{owner}"
        with path.open("a") as file:
            if not _lock(file):
                return False
            path.unlink(missing_ok=True)
        return True

    def _remove(self, path: Path) -> None:
        gone = self._fresh()
        self._partial.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        with contextlib.suppress(OSError):
            os.rename(path, gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _all(self) -> list[_Set]:
        found = []
        for path in self._sets.glob("*/*"):
            with contextlib.suppress(OSError):
                facts = [file.stat() for file in path.iterdir()]
                found.append(_Set(path, path.stat().st_mtime, [(f.st_ino, f.st_size, f.st_nlink) for f in facts]))
        return found

    def _count(self) -> int:
        return sum({inode: size for one in self._all() for inode, size, _ in one.files}.values())

    def _evict(self, before: float = 0.0) -> None:
        """Evicts unpinned sets, least recently used first: those last used `before`, then until the limit is met."""
        sets = sorted(self._all(), key=lambda one: one.used)
        holders = Counter(inode for one in sets for inode, _, _ in one.files)
        left = Counter(holders)
        total = sum({inode: size for one in sets for inode, size, _ in one.files}.values())
        enough = total if total <= self._limit else int(self._limit * EVICT_DOWN_TO)
        for one in sets:
            if one.used >= before and total <= enough:
                break
            # Sets may share a file; any other link of it is a user's pin.
            if any(links > holders[inode] for inode, _, links in one.files):
                continue
            self._remove(one.path)
            for inode, size, _ in one.files:
                left[inode] -= 1
                total -= 0 if left[inode] else size
        self._size = total
