"""What a checkout's `.git` consists of: packs of history, and the small files of this very snapshot."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from daemon.checkouts import dot_git, history, tar_members
from daemon.checkouts.content import above
from daemon.checkouts.history import History
from daemon.checkouts.indexing import KnownIndexes, write_index
from daemon.checkouts.objects import Objects
from daemon.checkouts.packs import Source, checksum, count_objects
from daemon.checkouts.snapshot import Repository, Snapshot
from daemon.checkouts.tar_members import Member
from daemon.executors.base import CheckoutOptions
from protocol.decoders import from_msgpack

VERSION = 1
"""Part of all keys: change it with the content of a `.git`."""
BASES_TRIED = 4
LARGEST_INCREMENT = 8 << 20
LARGEST_SHARE = 0.25
SMALLEST_READY = 8 << 20
"""A smaller pack is copied faster than compared."""
"""An increment larger than both is packed with its base, as a new one."""
PACK_MODE, FILE_MODE, DIRECTORY_MODE = 0o444, 0o644, 0o755
DIRECTORIES = (b"objects", b"objects/info", b"objects/pack", b"refs", b"refs/heads", b"refs/tags", b"info")


def key_of(*parts: object) -> str:
    """Identifies a value that msgpack can encode."""
    return hashlib.sha256(msgspec.msgpack.encode((VERSION, parts))).hexdigest()[:32]


class HistoryPack(msgspec.Struct, frozen=True):
    """A pack of commits: the set on the shelf that has it, and git's name of it."""

    set: str
    pack: str


class _Packed(msgspec.Struct, frozen=True):
    """The note beside a pack of commits. `base` names the set that it builds on."""

    pack: str
    tips: list[str]
    tags: list[str] = []
    base: str = ""


class RepositoryPlan(msgspec.Struct, frozen=True):
    """One repository's git directory: `packs`, of which the first is complete and the others build on it; small
    `texts` by name; whether the plan's set has its index; and the name of the pack there with `extras`: tags and
    staged blobs. In a `partial` one, packs may refer to objects that nobody has.
    """

    top: bytes
    git_dir: bytes
    git_file: bytes
    packs: list[HistoryPack]
    texts: dict[bytes, bytes]
    index: bool
    extras: str
    partial: bool = False


class Plan(msgspec.Struct, frozen=True):
    """The git directories of a checkout, in the order of its repositories."""

    repositories: list[RepositoryPlan]


def make_plan(
    source: Source, objects: Objects, snapshot: Snapshot, options: CheckoutOptions, known: KnownIndexes | None
) -> tuple[Plan, Path]:
    """The plan of a checkout, and its pinned set. `known` indexes of an earlier one save time."""
    name = f"plan-{key_of(source.ref, *_encodable(options))}"
    with source.making(name):
        pinned = source.pin(name)
        plan = pinned and _whole_plan(source, pinned)
        if plan and pinned:
            return plan, pinned
        if pinned:  # some of its packs were evicted
            source.unpin(name)
            source.shelf.drop(source.name, name)
        with source.shelf.partial() as partial:
            chosen = snapshot.chosen(options)
            made = [
                _plan_repository(source, objects, snapshot, chosen, number, options, known, partial)
                for number in range(len(chosen))
            ]
            plan = Plan(made)
            (partial / "plan").write_bytes(msgspec.msgpack.encode(plan))
            return plan, source.put(name, partial)


def _whole_plan(source: Source, pinned: Path) -> Plan | None:
    """A plan that was made before, if all its packs are there."""
    plan = from_msgpack((pinned / "plan").read_bytes(), Plan)
    packs = [pack for one in plan.repositories for pack in one.packs]
    return plan if all(source.pin(pack.set) for pack in packs) else None


def _encodable(options: CheckoutOptions) -> tuple[object, ...]:
    return (
        options.depth,
        options.files,
        options.submodules,
        options.submodule_paths,
        options.submodule_depth,
    )


def _plan_repository(
    source: Source,
    objects: Objects,
    snapshot: Snapshot,
    chosen: Sequence[Repository],
    number: int,
    options: CheckoutOptions,
    known: KnownIndexes | None,
    partial: Path,
) -> RepositoryPlan:
    one = chosen[number]
    depth = options.submodule_depth if one.level else options.depth
    found = history.read_history(objects, one, depth, source.ref.shallow)
    modules = [other for other in chosen if other.level and snapshot.repositories[other.manifest.parent] is one]
    staged = snapshot.staged.intersection(entry.id for entry in one.manifest.index if entry.id)
    extras = ""
    if wanted := [*found.tags, *sorted(staged)]:
        extras = history.pack_objects(source.view(), wanted, partial)
        for suffix in ("pack", "idx"):
            (partial / suffix).rename(partial / f"{number}.{suffix}")
    if options.files:
        write_index(objects, one, known.of(one) if known else None, partial / f"{number}")
    return RepositoryPlan(
        top=one.top,
        git_dir=one.git_dir,
        git_file=dot_git.git_file(one) if one.level else b"",
        packs=_partial_history(source, found) if one.manifest.partial else _history_packs(source, found),
        texts=dot_git.text_files(one, found, modules),
        index=options.files,
        extras=extras,
        partial=one.manifest.partial,
    )


def _history_packs(source: Source, wanted: History) -> list[HistoryPack]:
    """The packs of a history: a complete one, or an increment on one that another job had."""
    if not wanted.tips:
        return []
    whole, increment = f"history-{wanted.key()}", f"increment-{wanted.key()}"
    with source.making(whole):
        found = _found(source, whole) or _found(source, increment)
        return found or _increment(source, wanted, increment) or [_whole(source, wanted, whole)]


def _partial_history(source: Source, wanted: History) -> list[HistoryPack]:
    """The pack of what a partial clone has of a history: named by its objects, as another clone may have others."""
    if not wanted.tips:
        return []
    ids = history.existing(source.view_down_to(wanted.shallow), wanted)
    name = f"partial-{key_of(sorted(ids))}"
    with source.making(name):
        if found := _found(source, name):
            return found
        with source.shelf.partial() as partial:
            packed = _Packed(history.pack_objects(source.view(), ids, partial), wanted.tips)
            (partial / "packed").write_bytes(msgspec.msgpack.encode(packed))
            source.put(name, partial)
    return [HistoryPack(name, packed.pack)]


def _found(source: Source, name: str) -> list[HistoryPack]:
    """A pack that was made before, after its base; empty if there is none."""
    pinned = source.pin(name)
    if pinned is None:
        return []
    packed = _note(pinned)
    if not packed.base:
        return [HistoryPack(name, packed.pack)]
    base = _found(source, packed.base)
    return [*base, HistoryPack(name, packed.pack)] if base else []


def _note(pinned: Path) -> _Packed:
    return from_msgpack((pinned / "packed").read_bytes(), _Packed)


def _whole(source: Source, wanted: History, name: str) -> HistoryPack:
    with source.shelf.partial() as partial:
        if ready := _ready(source, wanted, partial):
            packed = _Packed(ready, wanted.tips, wanted.tags)
        else:
            packed = _Packed(history.pack(source.view(), wanted, [], partial), wanted.tips)
        (partial / "packed").write_bytes(msgspec.msgpack.encode(packed))
        (partial / "commits").write_bytes(bytes.fromhex("".join(wanted.parents)))
        source.put(name, partial)
    return HistoryPack(name, packed.pack)


def _ready(source: Source, wanted: History, target: Path) -> str:
    """Links a large pack of the workspace that is just this history with its tags. Returns its name; empty if none is.

    It saves the time and the space of a copy.
    """
    found = -1
    if not set(wanted.shallow) <= set(source.ref.shallow):
        return ""
    for number, pack in enumerate(source.packs):
        if (pack / "pack").stat().st_size < SMALLEST_READY:
            continue
        if found < 0:
            found = len(wanted.tags) + history.count(source.view(), wanted)
        if count_objects(pack) == found and history.is_within(source.view_of(number), wanted):
            for suffix in ("pack", "idx"):
                os.link(pack / suffix, target / suffix)
            return checksum(pack, source.ref.object_format)
    return ""


def _increment(source: Source, wanted: History, name: str) -> list[HistoryPack]:
    """A pack of what the history has more than one of the last complete packs; empty if that is too much."""
    for base in source.shelf.names(source.name, "history")[:BASES_TRIED]:
        pinned = source.pin(base)
        if pinned is None:
            continue
        below = _note(pinned)
        if not (wanted.parents.keys() >= set(below.tips) and set(wanted.tags) >= set(below.tags)):
            continue
        commits, length = (pinned / "commits").read_bytes().hex(), len(wanted.tips[0])
        if not wanted.contains(below.tips, {commits[at : at + length] for at in range(0, len(commits), length)}):
            continue
        with source.shelf.partial() as partial:
            packed = _Packed(history.pack(source.view(), wanted, below.tips, partial), wanted.tips, [], base)
            size = (partial / "pack").stat().st_size
            if size > max(LARGEST_INCREMENT, LARGEST_SHARE * (pinned / "pack").stat().st_size):
                return []
            (partial / "packed").write_bytes(msgspec.msgpack.encode(packed))
            source.put(name, partial)
        return [HistoryPack(base, below.pack), HistoryPack(name, packed.pack)]
    return []


# the tar's members


def pack_members(source: Source, plans: Sequence[RepositoryPlan], which: slice) -> Iterator[Member]:
    """Some of the packs of each repository."""
    for one in plans:
        for pack in one.packs[which]:
            for path in [*above(one.git_dir), one.git_dir]:
                yield _directory(path)
            yield _directory(one.git_dir + b"/objects")
            yield _directory(one.git_dir + b"/objects/pack")
            yield from _pack(one, pack.pack, source.pins / pack.set / "pack", source.pins / pack.set / "idx")


def small_members(plan: Plan, pinned: Path) -> Iterator[Member]:
    """All but the packs of commits."""
    for number, one in enumerate(plan.repositories):
        for path in [*above(one.git_dir), one.git_dir]:
            yield _directory(path)
        for name in DIRECTORIES:
            yield _directory(one.git_dir + b"/" + name)
        if one.extras:
            yield from _pack(one, one.extras, pinned / f"{number}.pack", pinned / f"{number}.idx")
        for name, text in sorted(one.texts.items()):
            yield tar_members.content(one.git_dir + b"/" + name, FILE_MODE, text)
        if one.index:
            yield tar_members.content(one.git_dir + b"/index", FILE_MODE, pinned / f"{number}.index")
        if one.git_file:
            yield tar_members.content(one.top + b"/.git", FILE_MODE, one.git_file)


def _directory(path: bytes) -> Member:
    return tar_members.directory(path, DIRECTORY_MODE, tar_members.INDEX_MTIME)


def _pack(one: RepositoryPlan, name: str, pack: Path, idx: Path) -> Iterator[Member]:
    place = one.git_dir + b"/objects/pack/pack-" + name.encode()
    yield tar_members.content(place + b".pack", PACK_MODE, pack)
    yield tar_members.content(place + b".idx", PACK_MODE, idx)
    if one.partial:
        yield tar_members.content(place + b".promisor", PACK_MODE, b"")
