"""Tells whether a file is the one that a Git LFS pointer names. No program of LFS runs."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from snapshots.store import SnapshotStore

POINTER = re.compile(
    rb"\Aversion https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n\Z"
)
MOST_BYTES = 1024
"""Size of the largest pointer, by the specification."""


def unmodified(store: SnapshotStore, top: Path, entries: Mapping[bytes, str]) -> set[bytes]:
    """Paths of files that are what the pointer in their blob names; `entries` are ids of blobs by path."""
    sizes = store.sizes(set(entries.values()))
    small = {id for id, size in sizes.items() if size <= MOST_BYTES}
    pointers = {id: match for id, data in store.read(sorted(small)).items() if (match := POINTER.match(data))}
    return {path for path, id in entries.items() if id in pointers and _is(top, path, pointers[id])}


def _is(top: Path, path: bytes, pointer: re.Match[bytes]) -> bool:
    try:
        with open(os.path.join(os.fsencode(top), path), "rb") as file:
            if os.fstat(file.fileno()).st_size != int(pointer[2]):
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == pointer[1].decode()
    except OSError:
        return False
