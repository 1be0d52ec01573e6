"""Reads the repositories of a snapshot: the project's own, and the submodules that a job wants."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256

import msgspec

from cli.submit.workspace.contents import ContentReader
from cli.submit.workspace.index_entries import Status
from cli.submit.workspace.work_tree import WorkTree
from pipeline.file_listing import Listing
from protocol.workspace import RepositoryManifest
from snapshots.history import Refs, parse_refs
from snapshots.store import SnapshotStore

_USER = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]*://)([^/@:]*)(?::[^/@]*)?@")


class Scan(msgspec.Struct):
    """One repository as it is now, its objects in the store: its manifest without refs, and the tree of its files.

    `staged` are ids of blobs that perhaps only the index refers to.
    """

    tree: WorkTree
    listing: Listing
    manifest: RepositoryManifest
    files: bytes
    staged: set[str]
    refs: Refs
    left_out: list[bytes]


def scan(store: SnapshotStore, tree: WorkTree, list_files: Callable[[], Listing]) -> Scan:
    """Reads a repository and writes what the store lacks of its files. Raises LongshoreError."""
    key = sha256(bytes(tree.top)).hexdigest()[:16]
    copy = store.directory / f"index-{key}"
    running = tree.start_status(store, copy)
    asked = tree.start_refs()

    @cache
    def status() -> Status:
        return Status(tree.git.finish(running).split(b"\0")[:-1])

    found = ContentReader(store, tree, key, copy, status).read(list_files)
    manifest = RepositoryManifest(
        url=without_password(tree.config.get("remote.origin.url", "")),
        head=status().head,
        branch=status().branch or "",
        index=found.entries,
        modes=found.modes,
        empty=sorted({*found.listing.empty, *found.listing.absent, *found.listing.submodules}),
        partial=tree.partial,
    )
    refs = parse_refs(tree.git.finish(asked, check=False))
    return Scan(tree, found.listing, manifest, found.tree, found.staged, refs, found.left_out)


def submodules(store: SnapshotStore, parent: Scan, parent_number: int, *, recursive: bool) -> Iterator[Scan]:
    """The checked-out submodules that `.gitmodules` names, each before its own; numbered from `parent_number` + 1."""
    names = _names(parent.tree)
    number = parent_number
    for path, listing in sorted(parent.listing.submodules.items()):
        if path not in names:
            continue
        tree = WorkTree.open(parent.tree.git, parent.tree.top / os.fsdecode(path))
        store.add_objects(tree.objects)
        found = scan(store, tree, lambda listing=listing: listing)  # type: ignore[misc]
        found.manifest = msgspec.structs.replace(found.manifest, path=path, parent=parent_number, name=names[path])
        yield found
        number += 1
        if recursive:
            for inner in submodules(store, found, number, recursive=True):
                yield inner
                number += 1


def _names(tree: WorkTree) -> dict[bytes, bytes]:
    """Names of submodules by path, as in `.gitmodules`."""
    if not (tree.top / ".gitmodules").is_file():
        return {}
    pattern = r"^submodule\..*\.path$"
    where = ("-C", str(tree.top))
    output = tree.git.run(where, "config", "-z", "-f", ".gitmodules", "--get-regexp", pattern, check=False)
    pairs = (entry.partition(b"\n") for entry in output.split(b"\0") if entry)
    return {path: key.removeprefix(b"submodule.").removesuffix(b".path") for key, _, path in pairs}


def without_password(url: str) -> str:
    """The address without credentials; the user of an SSH address is none."""
    match = _USER.match(url)
    if match is None:
        return url
    keeps = match[1].lower() in ("ssh://", "git+ssh://") and match[2]
    return match[1] + (f"{match[2]}@" if keeps else "") + url[match.end() :]
