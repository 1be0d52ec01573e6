"""A note at the end of a compressed archive, in a frame that zstd's readers skip: what the archive is of.

It is replaced together with the archive, and read without reading the archive.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import msgspec

from protocol.decoders import from_json

MAGIC = 0x184D2A5B
"""A skippable frame, with a number of ours in its last four bits."""
LONGEST = 1 << 20
"""Limit of a note in bytes."""
_HEAD = struct.Struct("<II")
_TAIL = struct.Struct("<I")


class Note(msgspec.Struct, frozen=True):
    """What an archive is of.

    `digest` identifies its content. `selection` identifies the patterns that it was taken by; `without` are those of
    their directories that did not exist. If it is not `alone`, files from elsewhere are in it too, which symbolic links
    led to: it can change without a change in its directories. `roots` are its outermost members, and `links` its
    symbolic links, by name.
    """

    digest: str
    selection: str
    roots: tuple[str, ...]
    links: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    alone: bool = True


def append(path: Path, note: Note) -> None:
    """Adds a note to an archive, unless it would be too long. Raises OSError."""
    text = msgspec.json.encode(note)
    if len(text) > LONGEST - _HEAD.size - _TAIL.size:
        return
    frame = _HEAD.pack(MAGIC, len(text) + _TAIL.size) + text
    with path.open("ab") as file:
        file.write(frame + _TAIL.pack(len(frame) + _TAIL.size))


def read(path: Path) -> Note | None:
    """An archive's note; None if it has none, or a damaged one. Raises OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _HEAD.size + _TAIL.size:
            return None
        (length,) = _TAIL.unpack(os.pread(file.fileno(), _TAIL.size, size - _TAIL.size))
        if not _HEAD.size + _TAIL.size <= length <= min(LONGEST, size):
            return None
        frame = os.pread(file.fileno(), length, size - length)
    if _HEAD.unpack_from(frame) != (MAGIC, length - _HEAD.size):
        return None
    try:
        return from_json(frame[_HEAD.size : -_TAIL.size], Note)
    except msgspec.MsgspecError:
        return None
