"""Git objects as bytes: ids, loose objects, trees. Pure, apart from writing a loose object."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

TREE_MODE = b"40000"
LINK_MODE = b"120000"
COMPRESSION = 1
"""zlib's level of objects: new files are packed and read once or twice."""
PROBE_BYTES = 1 << 16
"""Bytes at the start of an object that decide whether it is compressed at all."""
SHRINKS = 0.95
"""Content that keeps more than this share of its size is stored as it is."""
IDENTITY = b"Longshore <longshore@localhost> 0 +0000"


def hasher(object_format: str, kind: bytes, size: int) -> _Hash:
    """A hash of an object of `size` bytes, to be updated with them."""
    made = hashlib.new(object_format, usedforsecurity=False)
    made.update(b"%s %d\0" % (kind, size))
    return made


def object_id(object_format: str, kind: bytes, data: bytes) -> bytes:
    """The id (raw) of an object."""
    made = hasher(object_format, kind, len(data))
    made.update(data)
    return made.digest()


def tree_data(entries: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """A tree of entries (name, mode, raw id); the names must be distinct."""
    ordered = sorted(entries, key=lambda entry: entry[0] + b"/" if entry[1] == TREE_MODE else entry[0])
    return b"".join(b"%s %s\0%s" % (mode, name, id) for name, mode, id in ordered)


def build_trees(object_format: str, files: Iterable[tuple[bytes, bytes, bytes]]) -> tuple[bytes, dict[bytes, bytes]]:
    """Trees of files (path, mode, raw id): the id of the top one, and the data of all by id."""
    folders: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {b"": []}
    for path, mode, id in files:
        folder, _, name = path.rpartition(b"/")
        if folder not in folders:
            _add_folders(folders, folder)
        folders[folder].append((name, mode, id))
    trees: dict[bytes, bytes] = {}
    id = b""
    for folder in sorted(folders, key=lambda path: path.count(b"/") + bool(path), reverse=True):
        data = tree_data(folders[folder])
        id = object_id(object_format, b"tree", data)
        trees[id] = data
        if folder:
            parent, _, name = folder.rpartition(b"/")
            folders[parent].append((name, TREE_MODE, id))
    return id, trees


def _add_folders(folders: dict[bytes, list[tuple[bytes, bytes, bytes]]], folder: bytes) -> None:
    while folder not in folders:
        folders[folder] = []
        folder = folder.rpartition(b"/")[0]


def commit_data(tree: str) -> bytes:
    """A commit without history that holds a tree."""
    return b"tree %s\nauthor %s\ncommitter %s\n\nsnapshot\n" % (tree.encode(), IDENTITY, IDENTITY)


def write_loose(objects: Path, object_format: str, kind: bytes, size: int, pieces: Iterator[bytes]) -> bytes | None:
    """Writes a loose object, atomically, and returns its raw id; None if the pieces have another size."""
    made = hasher(object_format, kind, size)
    first = next(pieces, b"")
    probe = first[:PROBE_BYTES]
    stored = len(probe) == PROBE_BYTES and len(zlib.compress(probe, COMPRESSION)) > SHRINKS * len(probe)
    compressor = zlib.compressobj(0 if stored else COMPRESSION)
    descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=objects)
    try:
        with open(descriptor, "wb") as file:
            file.write(compressor.compress(b"%s %d\0" % (kind, size)))
            written = 0
            piece = first
            while piece:
                written += len(piece)
                made.update(piece)
                file.write(compressor.compress(piece))
                piece = next(pieces, b"")
            file.write(compressor.flush())
        if written != size:
            return None
        id = made.hexdigest()
        folder = objects / id[:2]
        folder.mkdir(exist_ok=True)
        os.chmod(name, 0o444)
        os.replace(name, folder / id[2:])
        name = ""
    finally:
        if name:
            os.unlink(name)
    return made.digest()
