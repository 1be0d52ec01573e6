"""Derives a repository's index from its head's tree, its files' tree and its manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from daemon.checkouts import trees
from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.index import Index, IndexLine
from daemon.checkouts.objects import FILE, LINK, SUBMODULE, TREE, Objects, kind
from daemon.checkouts.snapshot import Repository

TREE_OF_COMMIT = re.compile(rb"\Atree ([0-9a-f]+)\n")
MOST_CHANGES = 20_000
"""An index with more changed entries is written anew."""


class IndexBasis(msgspec.Struct, frozen=True):
    """What an index was derived from. `special` are paths that the manifest mentions."""

    top: bytes
    tree: str
    head_tree: str
    special: list[bytes]


class KnownIndex(msgspec.Struct, frozen=True):
    """An index of an earlier checkout: its basis, its file and its entries' offsets, and the trees' objects."""

    basis: IndexBasis
    file: Path
    offsets: Path
    objects: Objects


class KnownIndexes(msgspec.Struct, frozen=True):
    """The indexes of an earlier checkout."""

    indexes: list[KnownIndex]

    def of(self, repository: Repository) -> KnownIndex | None:
        """That of a repository."""
        return next((one for one in self.indexes if one.basis.top == repository.top), None)


def write_index(objects: Objects, repository: Repository, known: KnownIndex | None, target: Path) -> None:
    """Writes an index to `target`.index, its entries' offsets to .offsets, and its basis to .basis."""
    basis = IndexBasis(
        repository.top,
        repository.tree,
        head_tree(objects, repository),
        sorted({entry.path for entry in repository.manifest.index}),
    )
    made = known and _from_known(objects, repository, basis, known)
    if not made:
        empty = Index(hash_bytes=len(repository.tree) // 2)
        heads = _all(objects, basis.head_tree)
        files = heads if basis.tree == basis.head_tree else _all(objects, basis.tree)
        made = empty.replaced(_lines(objects, repository, heads, files))
    target.with_suffix(".index").write_bytes(made.file())
    target.with_suffix(".offsets").write_bytes(made.offsets)
    target.with_suffix(".basis").write_bytes(msgspec.msgpack.encode(basis))


def head_tree(objects: Objects, repository: Repository) -> str:
    """The tree of the checked-out commit; empty before the first one."""
    if repository.manifest.head is None:
        return ""
    match = TREE_OF_COMMIT.match(next(objects.read([repository.manifest.head], "commit")))
    if match is None:
        raise BadWorkspace(f"commit {repository.manifest.head} is malformed")
    return match[1].decode()


_Files = Mapping[bytes, tuple[int, str]]


def _all(objects: Objects, tree: str) -> _Files:
    if not tree:
        return {}
    trees.check_names(objects, tree)
    return {path: (mode, key) for path, mode, key in trees.walk(objects, tree) if kind(mode) != TREE}


def _from_known(objects: Objects, repository: Repository, basis: IndexBasis, known: KnownIndex) -> Index | None:
    """The index, by changing a known one; None if that is not worth it."""
    if not basis.head_tree or not known.basis.head_tree:
        return None
    changed = {*basis.special, *known.basis.special}
    for before, after in ((known.basis.tree, basis.tree), (known.basis.head_tree, basis.head_tree)):
        made = trees.difference(known.objects, before, objects, after, MOST_CHANGES)
        if made is None:
            return None
        changed.update(path for path, mode, _ in made.written if kind(mode) != TREE)
        changed.update(made.lost)
    old = Index.read(known.file.read_bytes(), known.offsets.read_bytes(), hash_bytes=len(repository.tree) // 2)
    heads, files = (trees.find(objects, tree, changed) for tree in (basis.head_tree, basis.tree))
    gone: dict[bytes, list[IndexLine]] = {path: [] for path in changed}
    return old.replaced(gone | _lines(objects, repository, heads, files))


def _lines(objects: Objects, repository: Repository, heads: _Files, files: _Files) -> dict[bytes, list[IndexLine]]:
    """The entries by path: those of the head, unless the manifest says otherwise."""
    special: dict[bytes, list[IndexLine]] = {entry.path: [] for entry in repository.manifest.index}
    unmodified = {path for path, found in heads.items() if path not in special and _same(found, files.get(path))}
    for entry in repository.manifest.index:
        if entry.stage == 0 and entry.id and (entry.clean or _same((entry.mode, entry.id), files.get(entry.path))):
            unmodified.add(entry.path)
    on_disk = {path: files[path][1] for path in unmodified if path in files and kind(files[path][0]) in (FILE, LINK)}
    sizes = objects.sizes(set(on_disk.values()))
    lines = {
        path: [IndexLine(path, _index_mode(mode), key, sizes[on_disk[path]] if path in on_disk else None)]
        for path, (mode, key) in heads.items()
        if path not in special
    }
    for entry in repository.manifest.index:
        if not entry.mode or entry.id is None:
            continue
        known = entry.stage == 0 and entry.path in on_disk
        special[entry.path].append(
            IndexLine(
                entry.path,
                entry.mode,
                entry.id,
                sizes[on_disk[entry.path]] if known else None,
                entry.stage,
                entry.skip_worktree,
                entry.intent_to_add,
            )
        )
    return lines | special


def _same(entry: tuple[int, str], file: tuple[int, str] | None) -> bool:
    """Whether a file on disk is what an entry says, apart from its executable bit."""
    return file is not None and entry[1] == file[1] and kind(entry[0]) == kind(file[0])


def _index_mode(mode: int) -> int:
    if kind(mode) == FILE:
        return 0o100755 if mode & 0o100 else 0o100644
    return SUBMODULE if kind(mode) == SUBMODULE else LINK
