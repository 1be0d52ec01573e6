"""The git objects of the runs that this host has jobs of, and what was derived from them. Knows no network."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import msgspec

from daemon.checkouts import snapshot
from daemon.checkouts.checkout import GitCheckout
from daemon.checkouts.git import Processes
from daemon.checkouts.objects import Objects
from daemon.checkouts.packs import Source
from daemon.checkouts.plan import key_of
from daemon.checkouts.shelf import Shelf
from daemon.checkouts.snapshot import Snapshot
from daemon.checkouts.trees import Totals
from daemon.executors.base import Checkout, CheckoutOptions, Workspace
from protocol.decoders import from_msgpack
from protocol.workspace import GitWorkspace, Manifest, Pack

MOST_SNAPSHOTS, SMALL_SNAPSHOT = 16, 1000
"""Snapshots that are kept in memory, and entries of such a one: those of the runs in progress."""
MANY_TREES, MANY_SHARE = 100, 0.2
"""So many unknown trees in a snapshot, and so large a share: the next one is read completely."""


class _Verified(msgspec.Struct, frozen=True):
    """What the verification of a workspace has found: its manifest, its trees by name, the totals of each."""

    manifest: Manifest
    parts: dict[bytes, str]
    totals: list[Totals]
    staged: list[str]


@dataclass(frozen=True, slots=True)
class StoredWorkspace(Workspace):
    """See Workspace: a snapshot whose packs are indexed and verified."""

    source: Source
    snapshot: Snapshot

    def checkout(self, options: CheckoutOptions) -> Checkout:
        """See Workspace."""
        return GitCheckout(self.source, self.snapshot, options)


class CheckoutStores:
    """The store in `directory`, of at most `limit` bytes; evicts what was unused for `keep_for` seconds.

    Several workers of a host may share it.
    """

    def __init__(self, directory: Path, limit: int, keep_for: float | None = None) -> None:
        self._shelf = Shelf(directory, limit, keep_for)
        self._lock = Lock()
        self._snapshots: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()  # by project and name of the set

    def workspace(
        self,
        ref: GitWorkspace,
        project: str,
        fetch: Callable[[Pack], Path],
        pins: Path,
        indexed: Callable[[Pack], None] = lambda pack: None,
        processes: Processes | None = None,
    ) -> StoredWorkspace:
        """A run's snapshot. `pins` is the attempt's directory, on the store's file system: it keeps what is in use.

        `fetch` and `indexed`: see Source. Of a snapshot that was read before, the packs are left alone until something
        must be made of them. `processes` are the attempt's. Raises as Source.
        """
        name = hashlib.sha256(f"{ref.object_format}\0{project}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        source = Source(self._shelf, name, ref, pins / name, fetch, indexed, processes or Processes())
        verified = f"verified-{key_of(ref)}"
        with self._lock:
            known = self._snapshots.get((name, verified))
        if known is None:
            known = _verified(source, verified)
            if _size(known) <= SMALL_SNAPSHOT:
                with self._lock:
                    self._snapshots[name, verified] = known
                    if len(self._snapshots) > MOST_SNAPSHOTS:
                        self._snapshots.popitem(last=False)
        return StoredWorkspace(source, known)

    def trim(self) -> None:
        """Evicts expired entries."""
        self._shelf.trim()


def _size(snapshot: Snapshot) -> int:
    """The number of things that a snapshot's manifest lists."""
    manifests = (one.manifest for one in snapshot.repositories)
    return sum(len(one.refs) + len(one.index) + len(one.empty) + len(one.modes.other) for one in manifests)


def _verified(source: Source, name: str) -> Snapshot:
    """The snapshot, checked to be complete and sound, unless that was done before; then it has this `name`."""
    _ = source.packs
    pinned = source.pin(name)
    if pinned is not None:
        kept = from_msgpack((pinned / "verified").read_bytes(), _Verified)
        found = snapshot.placed(kept.manifest, kept.parts, frozenset(kept.staged))
        for one, totals in zip(found.repositories, kept.totals, strict=True):
            one.totals = totals
        return found
    known = _known_trees(source)
    before = len(known)
    with Objects(source.view()) as objects:
        found = snapshot.verify(objects, source.ref, known)
    repositories = found.repositories
    verified = _Verified(
        Manifest(repositories=[one.manifest for one in repositories]),
        {b"%d" % number: one.tree for number, one in enumerate(repositories)},
        [one.totals for one in repositories],
        sorted(found.staged),
    )
    with source.shelf.partial() as partial:
        (partial / "verified").write_bytes(msgspec.msgpack.encode(verified))
        source.put(name, partial)
    _keep_trees(source, known, before)
    return found


def _known_trees(source: Source) -> dict[str, Totals]:
    """Trees that a verification has found to be sound, with their totals."""
    for name in source.shelf.names(source.name, "trees")[:1]:
        if pinned := source.pin(name):
            return from_msgpack((pinned / "trees").read_bytes(), dict[str, Totals])
    return {}


def _keep_trees(source: Source, known: dict[str, Totals], before: int) -> None:
    """Keeps the trees of a complete verification, if it is worth it; drops them when many others are in use."""
    old = source.shelf.names(source.name, "trees")
    if before == 0 and len(known) > MANY_TREES:
        with source.shelf.partial() as partial:
            (partial / "trees").write_bytes(msgspec.msgpack.encode(known))
            source.put(f"trees-{key_of(source.ref)}", partial)
    if before == 0 or len(known) - before > max(MANY_TREES, before * MANY_SHARE):
        for name in old:
            source.shelf.drop(source.name, name)
