"""A layer's tar on its way into a volume: what the engine refuses there is kept apart. Knows no engine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator

from daemon.executors.common.archives import Leaving, leads_above
from daemon.executors.common.tar_stream import BLOCK, EXTENSIONS, BadArchive, Member

FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
PAGE = 4096
"""Unit in bytes in which file systems give out space."""
INODE = 256
"""Bytes of an inode of ext4."""


class LayerArchive:
    """The tar that `archive` streams, passed on by `pieces`. After it, `leaving` has the links that are to follow,
    and `size` is the layer's size on disk, in bytes.
    """

    def __init__(self, archive: Callable[[], Iterator[bytes]]) -> None:
        self.leaving = Leaving()
        self.size = 0
        self._archive = archive

    def pieces(self) -> Iterator[bytes]:
        """The tar without the links that are kept apart. May be called again. Raises BadArchive, OSError."""
        self.leaving.clear()
        self.size = 0
        rest = b""
        left = 0  # bytes of the current member's content
        for piece in self._archive():
            data = rest + piece if rest else piece
            begin = at = 0
            while True:
                step = min(left, len(data) - at)
                at += step
                left -= step
                if left or (length := _head_length(data, at)) is None:
                    break
                kept, content = self._look(data[at : at + length])
                if not kept:
                    yield data[begin:at]
                    begin = at + length
                at += length
                left = -(-content // BLOCK) * BLOCK
            if at > begin:
                yield data[begin:at]
            rest = data[at:]
        if left or rest:
            raise BadArchive("a layer's archive is truncated")

    def _look(self, head: bytes) -> tuple[bool, int]:
        """Whether the member goes in, and the bytes of its content. `head` are its headers."""
        kind = head[len(head) - BLOCK + 156 :][:1]
        if len(head) == BLOCK and kind != tarfile.SYMTYPE:
            content = _number(head[124:136]) if kind in FILES else 0
        else:
            with tarfile.open(fileobj=io.BytesIO(head + bytes(2 * BLOCK))) as tar:
                member = tar.next()
            if member is None:
                raise BadArchive("a layer's archive has a damaged header")
            if member.issym() and leads_above(member.name, member.linkname):
                link = Member(member.name, tarfile.SYMTYPE, mode=0o777, mtime=int(member.mtime), target=member.linkname)
                self.leaving.keep(link)
                return False, 0
            content = member.size if member.isreg() else 0
        self.size += -(-content // PAGE) * PAGE + INODE
        return True, content


def _head_length(data: bytes, at: int) -> int | None:
    """Bytes of a member's headers, with those that only extend it; None if `data` ends before."""
    end = at
    while end + BLOCK <= len(data):
        extends = data[end + 156 : end + 157] in EXTENSIONS
        if not extends:
            return end + BLOCK - at
        end += BLOCK + -(-_number(data[end + 124 : end + 136]) // BLOCK) * BLOCK
    return None


def _number(field: bytes) -> int:
    """A number field of a tar header: octal text, or binary where its first bit is set. Raises BadArchive."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise BadArchive("a layer's archive has a damaged header") from None
