"""Writes `.git/index` files, in which git knows unmodified files without reading them. Pure.

With core.checkStat=minimal git compares size and time (in seconds) of a file to its entry; all files of a checkout have
the same time. An entry of a modified file has the time 0, which makes git compare contents.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from protocol.workspace import MTIME

STAT = struct.Struct(">10I")
EXTENDED, SKIP_WORKTREE, INTENT_TO_ADD = 1 << 14, 1 << 14, 1 << 13
LONGEST_COUNTED = 0xFFF
SIZE_BITS = 0xFFFFFFFF


class IndexLine(NamedTuple):
    """An index entry. `size` is the unmodified file's on disk; None if it is modified or absent."""

    path: bytes
    mode: int
    id: str
    size: int | None = None
    stage: int = 0
    skip_worktree: bool = False
    intent_to_add: bool = False

    def encoded(self) -> bytes:
        """The entry in an index file of version 2, or 3 if it has extended flags."""
        size, time = (0, 0) if self.size is None else (self.size & SIZE_BITS, MTIME)
        stat = STAT.pack(0, 0, time, 0, 0, 0, self.mode, 0, 0, size)
        flags = self.stage << 12 | min(len(self.path), LONGEST_COUNTED)
        more = b""
        if self.skip_worktree or self.intent_to_add:
            flags |= EXTENDED
            more = struct.pack(">H", SKIP_WORKTREE * self.skip_worktree | INTENT_TO_ADD * self.intent_to_add)
        entry = b"".join((stat, bytes.fromhex(self.id), struct.pack(">H", flags), more, self.path))
        return entry + bytes(8 - len(entry) % 8)


class Index:
    """An index as its encoded entries, sorted, and their offsets, so that a few can be replaced without the others."""

    def __init__(self, entries: bytes = b"", offsets: bytes = b"", *, hash_bytes: int, extended: bool = False) -> None:
        self._entries = entries
        self._extended = extended
        self._offsets = array("Q")
        self._offsets.frombytes(offsets)
        self._hash_bytes = hash_bytes

    @property
    def offsets(self) -> bytes:
        """The entries' offsets, for `Index`."""
        return self._offsets.tobytes()

    @classmethod
    def read(cls, file: bytes, offsets: bytes, *, hash_bytes: int) -> Index:
        """The index in a file that `file` has made."""
        return cls(file[12:-hash_bytes], offsets, hash_bytes=hash_bytes, extended=file[7] == 3)

    def file(self) -> bytes:
        """The whole index file."""
        data = struct.pack(">4sII", b"DIRC", 3 if self._extended else 2, len(self._offsets)) + self._entries
        digest = hashlib.sha1 if self._hash_bytes == 20 else hashlib.sha256
        return data + digest(data).digest()

    def replaced(self, changes: Mapping[bytes, Iterable[IndexLine]]) -> Index:
        """The index with other entries for some paths: none removes the path."""
        made = Index(hash_bytes=self._hash_bytes, extended=self._extended)
        parts: list[bytes] = []
        size = taken = 0
        count = len(self._offsets)
        for path in sorted(changes):
            first = bisect_left(range(count), path, lo=taken, key=self._path)
            size = made._keep(self, taken, first, size, parts)
            taken = first
            while taken < count and self._path(taken) == path:
                taken += 1
            for line in sorted(changes[path], key=lambda one: one.stage):
                made._offsets.append(size)
                made._extended |= line.skip_worktree or line.intent_to_add
                parts.append(line.encoded())
                size += len(parts[-1])
        made._keep(self, taken, count, size, parts)
        made._entries = b"".join(parts)
        return made

    def _keep(self, other: Index, first: int, end: int, size: int, parts: list[bytes]) -> int:
        """Appends entries of another index. Returns the new size."""
        if first == end:
            return size
        start = other._offsets[first]
        stop = other._offsets[end] if end < len(other._offsets) else len(other._entries)
        parts.append(other._entries[start:stop])
        if size == start:
            self._offsets.extend(other._offsets[first:end])
        else:
            shift = size - start
            self._offsets.extend(offset + shift for offset in other._offsets[first:end])
        return size + stop - start

    def _path(self, number: int) -> bytes:
        at = self._offsets[number] + STAT.size + self._hash_bytes
        flags = int.from_bytes(self._entries[at : at + 2], "big")
        start = at + (4 if flags & EXTENDED else 2)
        return self._entries[start : self._entries.index(b"\0", start)]
