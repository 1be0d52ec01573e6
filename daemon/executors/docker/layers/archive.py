"""A layer's tar on its way into a volume: what the engine refuses there is kept apart. Knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from daemon.executors.common.archives import ENDING, Leaving, leads_above
from daemon.executors.common.tar_stream import Owner, TarReader, padding

PAGE = 4096
"""Unit in bytes in which file systems give out space."""
INODE = 256
"""Bytes of an inode of ext4."""


class LayerArchive:
    """The tar that `archive` streams, passed on by `pieces` with all members owned by `owner`. After it, `leaving` has
    the links that are to follow, and `size` is the layer's size on disk, in bytes.
    """

    def __init__(self, archive: Callable[[], Iterator[bytes]], owner: Owner) -> None:
        self.leaving = Leaving()
        self.size = 0
        self._archive = archive
        self._owner = owner

    def pieces(self) -> Iterator[bytes]:
        """The tar without the links that are kept apart. May be called again. Raises BadArchive, OSError."""
        self.leaving.clear()
        self.size = 0
        reader = TarReader(cast(BinaryIO, _Pieces(self._archive())), "a layer's archive")
        for member in reader:
            if member.is_symlink and leads_above(member.name, member.target):
                self.leaving.keep(member)
                continue
            yield member.encoded(self._owner)
            if member.size:
                yield from reader.data()
                yield padding(member.size)
            self.size += -(-member.size // PAGE) * PAGE + INODE
        yield ENDING


class _Pieces:
    """Reads from pieces as from a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes, `size` unless the pieces end."""
        if self._at + size <= len(self._piece):  # mostly
            self._at += size
            return self._piece[self._at - size : self._at]
        parts: list[bytes] = []
        while size:
            if self._at == len(self._piece):
                self._piece, self._at = next(self._pieces, b""), 0
                if not self._piece:
                    break
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)
