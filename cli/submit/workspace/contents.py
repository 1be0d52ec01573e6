"""What a repository holds as it is now: read as a whole, or where it may differ from what the last snapshot found.

Of many files git's own comparison with its index tells which may have changed since: as long as the index, once it is
refreshed, is the same, no other file is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from cli.submit.workspace.files import (
    FileCache,
    FileReader,
    Files,
    Known,
    common_modes,
    folder_permissions,
    folders_of,
    with_modes,
)
from cli.submit.workspace.index_entries import Status, index_entries
from cli.submit.workspace.lfs import unmodified
from cli.submit.workspace.work_tree import WorkTree
from pipeline.file_listing import SUBMODULE_MODE, FileStatus, Listing, list_files, list_index
from protocol.decoders import from_msgpack
from protocol.workspace import IndexEntry, Modes
from snapshots.objects import build_trees, changed_trees
from snapshots.store import SnapshotStore, update_file

MANY_FILES = 2_000
"""Tracked files from which a snapshot builds on the last one: fewer are read while git compares them."""
MOST_CHANGED = 200
"""Tracked files that are looked at again; of more, git would take longer to list them than all."""


class Basis(msgspec.Struct):
    """What the last snapshot found. It is the same as long as `index`, which names the copy of the index, is.

    `tracked` and `untracked` are files that are looked at again whatever git says; `known` has their statuses and ids.
    `folders` are the directories of `tree`.
    """

    index: str = ""
    tree: bytes = b""
    tracked: set[bytes] = set()
    untracked: set[bytes] = set()
    known: dict[bytes, Known] = {}
    entries: list[IndexEntry] = []
    modes: Modes = Modes()
    folders: list[bytes] = []
    left_out: list[bytes] = []

    @classmethod
    def load(cls, path: Path) -> Basis | None:
        """The stored one; None if there is none."""
        try:
            return from_msgpack(path.read_bytes(), cls)
        except (OSError, msgspec.MsgspecError):
            return None


class Contents(msgspec.Struct):
    """A repository's files and index; `staged` are ids of blobs that perhaps only the index refers to."""

    listing: Listing
    tree: bytes
    modes: Modes
    entries: list[IndexEntry]
    staged: set[str]
    left_out: list[bytes]


class ContentReader:
    """Reads one repository, and writes what the store lacks of its files. `key` distinguishes it from its submodules.

    `copy` is the copied index; `status` waits for git, which refreshes it.
    """

    def __init__(
        self, store: SnapshotStore, tree: WorkTree, key: str, copy: Path, status: Callable[[], Status]
    ) -> None:
        self._store = store
        self._tree = tree
        self._noted = store.directory / f"files-{key}"
        self._stored = store.directory / f"basis-{key}"
        self._copy = copy
        self._status = status
        self._trusts_modes = tree.flag("core.filemode", True)

    def read(self, list_all: Callable[[], Listing]) -> Contents:
        """The repository as it is now. Raises LongshoreError."""
        basis = Basis.load(self._stored)
        if basis is not None and basis.index == self._index_name():
            paths = basis.tracked | self._status().paths
            found = self._read_again(basis, paths) if len(paths) <= MOST_CHANGED else None
            if found is not None:
                return found
        return self._read_all(list_all(), basis)

    def _read_all(self, listing: Listing, basis: Basis | None) -> Contents:
        store, known = self._store, FileCache.load(self._noted)
        before = known.files, known.trees
        if basis is not None:
            known.files = known.files | basis.known
        files = self._files(known, listing)
        top, trees = build_trees(store.object_format, files.permissions, files.present)
        self._write_trees(trees, known.trees)
        known.trees = set(trees)
        del trees
        if (known.files, known.trees) != before:
            known.save(self._noted)
        folders = folders_of(files.permissions)
        permissions = folder_permissions(self._tree.top, folders | _folders_without_files(listing))
        modes = common_modes(files.permissions, permissions)
        entries, staged = self._entries(listing, files)
        if len(listing.index) >= MANY_FILES:
            of_files = {path: bits for path, bits in modes.other.items() if path in files.permissions}
            basis = Basis(tree=top, entries=entries, folders=sorted(folders), left_out=files.left_out)
            basis.modes = msgspec.structs.replace(modes, other=of_files)
            self._note(listing, files, known, basis)
        else:
            self._stored.unlink(missing_ok=True)
        return Contents(listing, top, modes, entries, staged, files.left_out)

    def _read_again(self, basis: Basis, paths: set[bytes]) -> Contents | None:
        """What the basis found, with what these paths and all untracked files are now; None if its objects are gone."""
        store = self._store
        listing = list_files(self._tree.top, list_index(self._tree.top, sorted(paths)) if paths else [])
        known = FileCache(basis.known)
        files = self._files(known, listing)
        again = paths | basis.untracked
        changes = {path: files.entry(path) for path in (*again, *files.permissions)}
        try:
            top, trees, gone = changed_trees(store.object_format, basis.tree, changes, self._read_trees)
        except KeyError:
            return None
        self._write_trees(trees, set())
        folders = sorted({*basis.folders, *folders_of(files.permissions)} - gone)
        permissions = folder_permissions(self._tree.top, {*folders, *_folders_without_files(listing)})
        others = {path: bits for path, bits in basis.modes.other.items() if path not in again}
        modes = with_modes(msgspec.structs.replace(basis.modes, other=others), files.permissions)
        entries, staged = self._entries(listing, files)
        entries += (entry for entry in basis.entries if entry.path not in again)
        entries.sort(key=lambda entry: (entry.path, entry.stage))
        left_out = sorted({*(path for path in basis.left_out if path not in again), *files.left_out})
        self._note(
            listing, files, known, Basis(tree=top, entries=entries, modes=modes, folders=folders, left_out=left_out)
        )
        return Contents(listing, top, with_modes(modes, permissions), entries, staged, left_out)

    def _files(self, known: FileCache, listing: Listing) -> Files:
        reader = FileReader(self._store, self._tree.top, known, self._of_index)
        return reader.read(listing, trust_modes=self._trusts_modes)

    def _of_index(self, statuses: dict[bytes, FileStatus]) -> dict[bytes, Known]:
        self._status()  # refreshes the copy of the index
        return self._tree.known_files(self._store, self._copy, statuses)

    def _entries(self, listing: Listing, files: Files) -> tuple[list[IndexEntry], set[str]]:
        status = self._status()
        if status.blobs and any(key.startswith("filter.lfs.") for key in self._tree.config):
            status.on_disk -= unmodified(self._store, self._tree.top, status.blobs)
        return index_entries(listing.index, status, files.entry)

    def _note(self, listing: Listing, files: Files, known: FileCache, basis: Basis) -> None:
        """Stores what the next snapshot can build on, if that is less work than to read all."""
        special = {path for head, _, path in (line.partition(b"\t") for line in listing.index) if _is_special(head)}
        basis.untracked = set(listing.untracked)
        basis.tracked = (self._status().paths | special | set(files.recent)) - basis.untracked
        if len(basis.tracked) > MOST_CHANGED:
            self._stored.unlink(missing_ok=True)
            return
        again = basis.tracked | basis.untracked
        basis.known = {path: entry for path in again if (entry := known.files.get(path))}
        basis.index = self._index_name()
        update_file(self._stored, msgspec.msgpack.encode(basis))

    def _index_name(self) -> str:
        """Tells the copied index, once it is refreshed, and how it is read."""
        self._status()
        try:
            with self._copy.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() + f" {self._trusts_modes}"
        except FileNotFoundError:
            return ""

    def _read_trees(self, ids: list[bytes]) -> Mapping[bytes, bytes]:
        found = self._store.read(id.hex() for id in ids)
        return {bytes.fromhex(id): data for id, data in found.items()}

    def _write_trees(self, trees: Mapping[bytes, bytes], existing: set[bytes]) -> None:
        unknown = {id.hex(): data for id, data in trees.items() if id not in existing}
        for id in self._store.missing({id: len(data) for id, data in unknown.items()}):
            self._store.write(b"tree", unknown[id])


def _is_special(head: bytes) -> bool:
    """Whether git may take a file for unchanged without having looked at it, or it is no file: a submodule."""
    return not head.startswith(b"H ") or head.startswith(SUBMODULE_MODE, 2) or not head.endswith(b" 0")


def _folders_without_files(listing: Listing) -> set[bytes]:
    """Directories that are there only for themselves, and those that contain them."""
    return folders_of(path + b"/" for path in (*listing.empty, *listing.absent, *listing.submodules))
