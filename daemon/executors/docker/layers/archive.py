"""A layer's tar on its way into a volume: what the engine refuses there is kept apart. Knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from daemon.executors.common.archives import ENDING, Leaving, leads_above
from daemon.tar_stream import Owner, Pieces, TarReader, batched

PAGE = 4096
"""Unit in bytes in which file systems give out space."""
INODE = 256
"""Bytes of an inode of ext4."""


class LayerArchive:
    """The tar that `archive` streams, passed on by `pieces`, with all files owned by `owner`. After it, `leaving` has
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
        return batched(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        reader = TarReader(Pieces(self._archive()), "a layer's archive")
        for member in reader:
            if member.is_symlink and leads_above(member.name, member.target):
                self.leaving.keep(member)
                continue
            member.name = member.name.rstrip("/")
            yield member.encoded(self._owner)
            if member.size:
                yield from reader.blocks()
            self.size += -(-member.size // PAGE) * PAGE + INODE
        yield ENDING
