"""Reads the stat data of a git index file (versions 2 to 4), which tells contents without reading files. Pure."""

from __future__ import annotations

import struct

from pipeline.file_listing import STAMP, FileStatus

HEADER = struct.Struct(">4sLL")
STAT = struct.Struct(">10L")
EXTENDED = 0x4000
STAGED = 0x3000
ASSUMED = 0x8000
NAME_LENGTH = 0x0FFF
LOW = 0xFFFFFFFF
"""Index files keep the low 32 bits of inode and size."""
SECOND = 1_000_000_000


def known_files(data: bytes, written_ns: int, id_bytes: int, statuses: dict[bytes, FileStatus]) -> dict[bytes, bytes]:
    """Stamps with raw ids, by path, of those files that still have the status by which an index knows them, which was
    written at `written_ns`; none if the index has a form unknown here. Takes what it looks at out of `statuses`.

    Leaves out entries that may have changed while the index was written, and those that git trusts blindly.
    """
    try:
        return _read(data, written_ns, id_bytes, statuses)
    except (struct.error, ValueError, IndexError):
        return {}


def _read(data: bytes, written_ns: int, id_bytes: int, statuses: dict[bytes, FileStatus]) -> dict[bytes, bytes]:
    signature, version, count = HEADER.unpack_from(data)
    if signature != b"DIRC" or version not in (2, 3, 4):
        return {}
    found: dict[bytes, bytes] = {}
    at = HEADER.size
    path = b""
    for _ in range(count):
        start = at
        ctime, ctime_ns, mtime, mtime_ns, _device, inode, mode, _user, _group, size = STAT.unpack_from(data, at)
        at += STAT.size
        id_at = at
        at += id_bytes
        flags = data[at] << 8 | data[at + 1]
        at += 4 if flags & EXTENDED else 2
        if version == 4:
            dropped, at = _number(data, at)
            end = data.index(0, at)
            path = path[: len(path) - dropped] + data[at:end]
            at = end + 1
        else:
            length = flags & NAME_LENGTH
            end = at + length if length < NAME_LENGTH else data.index(0, at + length)
            path = data[at:end]
            at = start + (end - start + 8 & ~7)
        written = mtime * SECOND + mtime_ns
        if flags & (STAGED | ASSUMED) or mode >> 12 not in (0o10, 0o12) or written >= written_ns:
            continue
        status = statuses.pop(path, None)  # there may be very many: its memory is that of what is found
        if status is None:
            continue
        own = STAMP.unpack(status.stamp)
        if own[:2] == (written, ctime * SECOND + ctime_ns) and (own[2] & LOW, own[3] & LOW) == (inode, size):
            found[path] = status.stamp + data[id_at : id_at + id_bytes]
    while at + 8 <= len(data) - id_bytes:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8])
        if name == b"link":  # a split index: most entries are in another file
            return {}
        at += 8 + length
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number in the encoding of pack offsets, and the position behind it."""
    byte = data[at]
    number = byte & 127
    while byte & 128:
        at += 1
        byte = data[at]
        number = (number + 1 << 7) | byte & 127
    return number, at + 1
