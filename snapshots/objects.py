"""Git objects as bytes: ids, loose objects, trees. Pure, apart from writing a loose object."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def build_trees(
    object_format: str, files: Iterable[bytes], entry: Callable[[bytes], tuple[bytes, bytes]]
) -> tuple[bytes, dict[bytes, bytes]]:
    """Trees of files, whose mode and raw id `entry` tells: the id of the top one, and the data of all by id."""
    folders: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {b"": []}  # the subdirectories of each, as they are made
    inside: dict[bytes, list[bytes]] = {}  # and its files
    for path in files:
        folder = path.rpartition(b"/")[0]
        if folder not in folders:
            _add_folders(folders, folder)
        inside.setdefault(folder, []).append(path)
    trees: dict[bytes, bytes] = {}
    id = b""
    for folder in sorted(folders, key=_depth, reverse=True):
        own = ((path.rpartition(b"/")[2], *entry(path)) for path in inside.get(folder, ()))
        data = tree_data([*folders[folder], *own])
        id = object_id(object_format, b"tree", data)
        trees[id] = data
        if folder:
            parent, _, name = folder.rpartition(b"/")
            folders[parent].append((name, TREE_MODE, id))
    return id, trees


def changed_trees(
    object_format: str,
    top: bytes,
    changes: Mapping[bytes, tuple[bytes, bytes] | None],
    read: Callable[[list[bytes]], Mapping[bytes, bytes]],
) -> tuple[bytes, dict[bytes, bytes], set[bytes]]:
    """The tree `top` with files (mode, raw id) in place of what it has at their paths, and without those that are None.

    Returns its id, the data of all new trees by id, and the directories that are gone. `read` reads trees by id.
    Raises KeyError if it lacks one.
    """
    folders: dict[bytes, list[tuple[bytes, bytes, bytes]]] = {b"": []}
    for path in changes:
        folder = path.rpartition(b"/")[0]
        if folder not in folders:
            _add_folders(folders, folder)
    deepest = max(map(_depth, folders))
    found: dict[bytes, dict[bytes, tuple[bytes, bytes]]] = {}
    for depth in range(deepest + 1):
        level = [folder for folder in folders if _depth(folder) == depth]
        ids = {b"": top} if depth == 0 else {folder: id for folder in level if (id := _sub_tree(found, folder))}
        read_trees = read(list(ids.values()))
        found |= {folder: _entries(read_trees[ids[folder]], len(top)) if folder in ids else {} for folder in level}
    for path, entry in changes.items():
        folder, _, name = path.rpartition(b"/")
        if entry is not None:
            found[folder][name] = entry
        elif found[folder].get(name, (TREE_MODE,))[0] != TREE_MODE:
            del found[folder][name]
    trees: dict[bytes, bytes] = {}
    gone: set[bytes] = set()
    id = top
    for folder in sorted(found, key=_depth, reverse=True):
        data = tree_data((name, mode, id) for name, (mode, id) in found[folder].items())
        id = object_id(object_format, b"tree", data)
        parent, _, name = folder.rpartition(b"/")
        if folder and not found[folder]:
            gone.add(folder)
            if found[parent].get(name, (b"",))[0] == TREE_MODE:
                del found[parent][name]
            continue
        trees[id] = data
        if folder:
            found[parent][name] = TREE_MODE, id
    return id, trees, gone


def _depth(folder: bytes) -> int:
    return folder.count(b"/") + bool(folder)


def _sub_tree(found: Mapping[bytes, Mapping[bytes, tuple[bytes, bytes]]], folder: bytes) -> bytes | None:
    parent, _, name = folder.rpartition(b"/")
    mode, id = found[parent].get(name, (b"", b""))
    return id if mode == TREE_MODE else None


def _entries(data: bytes, id_bytes: int) -> dict[bytes, tuple[bytes, bytes]]:
    """Modes and ids of a tree's entries by name."""
    found = {}
    at = 0
    while at < len(data):
        end = data.index(0, at)
        mode, _, name = data[at:end].partition(b" ")
        at = end + 1 + id_bytes
        found[name] = mode, data[end + 1 : at]
    return found


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
