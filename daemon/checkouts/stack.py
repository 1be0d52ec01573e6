"""Splits the files of a checkout into a layer that many checkouts share, and the difference to it.

A base is a checkout whose files form a layer. The last few of a project are kept, with their packs and indexes: a later
checkout that differs little is the base and a difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from daemon.checkouts import content as contents
from daemon.checkouts import tar_members, trees
from daemon.checkouts.content import Content, Part
from daemon.checkouts.indexing import IndexBasis, KnownIndex, KnownIndexes
from daemon.checkouts.objects import SUBMODULE, TREE, Objects, kind
from daemon.checkouts.packs import Source
from daemon.checkouts.plan import key_of
from daemon.checkouts.tar_members import Member
from daemon.checkouts.trees import Totals
from protocol.decoders import from_msgpack

BASES_TRIED = 3
MOST_BASES = 6
"""Bases of a project to keep."""
LARGEST_SHARE = 0.2
"""Maximum share of files, and of bytes, by which a checkout may differ from its base."""
SMALL_FILES, SMALL_BYTES = 100, 1 << 20
"""A difference of less is always worth it."""


class Base(msgspec.Struct, frozen=True):
    """The note of a base: its files, their totals, and the packs that have them."""

    content: Content
    entries: int
    bytes: int
    object_format: str
    packs: list[str]


class Delta(msgspec.Struct, frozen=True):
    """The difference of a checkout's files to a base, as paths to remove and to write. `blobs` is the written size.

    A path to write has: part, path relative to it, git's mode, blob's id, size.
    """

    base: str
    removed: list[bytes]
    written: list[tuple[int, bytes, int, str, int]]
    blobs: int


class Stack(msgspec.Struct, frozen=True):
    """A checkout's files as a base, and the difference to it, if any. `name` is the base's set, `pinned` its pin."""

    name: str
    pinned: Path
    base: Base
    delta: Delta | None


def base_name(content: Content) -> str:
    """The name of the base that these files would be."""
    return f"base-{key_of(content)}"


def find_stack(source: Source, content: Content, totals: Totals) -> Stack | None:
    """The files as a base that is known, with a difference; None if they are to become a base."""
    own, decided = base_name(content), f"delta-{key_of(content)}"
    if stack := _pinned(source, own, None):
        return stack
    with source.making(decided):
        pinned = source.pin(decided)
        if pinned is not None:
            delta = from_msgpack((pinned / "delta").read_bytes(), Delta)
            if stack := _pinned(source, delta.base, delta):
                return stack
            source.shelf.drop(source.name, decided)
        for name in source.shelf.names(source.name, "base")[:BASES_TRIED]:
            stack = _pinned(source, name, None)
            if stack is None or not _comparable(stack.base.content, content):
                continue
            delta_found = _difference(source, stack, content, totals)
            if delta_found is None:
                continue
            if pinned is None:
                with source.shelf.partial() as partial:
                    (partial / "delta").write_bytes(msgspec.msgpack.encode(delta_found))
                    source.put(decided, partial)
            return Stack(stack.name, stack.pinned, stack.base, delta_found)
    return None


def _pinned(source: Source, name: str, delta: Delta | None) -> Stack | None:
    pinned = source.pin(name)
    if pinned is None:
        return None
    return Stack(name, pinned, from_msgpack((pinned / "base").read_bytes(), Base), delta)


def make_base(source: Source, content: Content, totals: Totals, plan: Path) -> Stack:
    """Keeps the files as a base, with the indexes of the `plan` that has them."""
    name = base_name(content)
    packs = [path.name for path in source.packs]
    base = Base(content, totals.entries, totals.bytes, source.ref.object_format, packs)
    with source.shelf.partial() as partial:
        (partial / "base").write_bytes(msgspec.msgpack.encode(base))
        for path in source.packs:
            for suffix in ("pack", "idx"):
                os.link(path / suffix, partial / f"{path.name}.{suffix}")
        for path in plan.iterdir():
            if path.suffix in (".index", ".offsets", ".basis"):
                os.link(path, partial / path.name)
        pinned = source.put(name, partial)
    for old in source.shelf.names(source.name, "base")[MOST_BASES:]:
        source.shelf.drop(source.name, old)
    return Stack(name, pinned, base, None)


@contextmanager
def base_objects(source: Source, stack: Stack) -> Iterator[Objects]:
    """The objects of a base."""
    with source.shelf.partial() as partial, ExitStack() as closing:
        packs = []
        for name in stack.base.packs:
            place = partial / name
            place.mkdir()
            for suffix in ("pack", "idx"):
                os.link(stack.pinned / f"{name}.{suffix}", place / suffix)
            packs.append(place)
        yield closing.enter_context(Objects(source.make_view(partial, packs, [])))


@contextmanager
def known_indexes(source: Source, stack: Stack) -> Iterator[KnownIndexes]:
    """The indexes of a base."""
    with base_objects(source, stack) as objects:
        found = []
        for path in sorted(stack.pinned.glob("*.basis")):
            basis = from_msgpack(path.read_bytes(), IndexBasis)
            found.append(KnownIndex(basis, path.with_suffix(".index"), path.with_suffix(".offsets"), objects))
        yield KnownIndexes(found)


def _comparable(old: Content, new: Content) -> bool:
    """Whether two checkouts have the same repositories, and the same permissions but for single paths."""
    return len(old) == len(new) and all(
        before.top == after.top
        and (before.modes.file, before.modes.executable, before.modes.directory)
        == (after.modes.file, after.modes.executable, after.modes.directory)
        for before, after in zip(old, new, strict=True)
    )


def _difference(source: Source, stack: Stack, content: Content, totals: Totals) -> Delta | None:
    """The difference to a base; None if it is too large."""
    most = max(SMALL_FILES, int(LARGEST_SHARE * totals.entries))
    removed: list[bytes] = []
    written: list[tuple[int, bytes, int, str]] = []
    with base_objects(source, stack) as old, Objects(source.view()) as new:
        for number, (before, after) in enumerate(zip(stack.base.content, content, strict=True)):
            made = _part_difference(old, before, new, after, most)
            if made is None:
                return None
            removed += [after.prefix + path for path in made.removed]
            written += [(number, path, mode, key) for path, mode, key in made.written]
        blobs = {key for _, _, mode, key in written if kind(mode) not in (TREE, SUBMODULE)}
        sizes = new.sizes(blobs)
    size = sum(sizes.get(key, 0) for *_, key in written)
    if len(written) > most or size > max(SMALL_BYTES, LARGEST_SHARE * totals.bytes):
        return None
    return Delta(stack.name, removed, [(*each, sizes.get(each[3], 0)) for each in written], size)


def _part_difference(old: Objects, before: Part, new: Objects, after: Part, most: int) -> trees.Difference | None:
    made = trees.difference(old, before.tree, new, after.tree, most)
    if made is None:
        return None
    written = {path: (mode, key) for path, mode, key in made.written}
    remodelled = {
        path
        for path in before.modes.other.keys() | after.modes.other.keys()
        if before.modes.other.get(path) != after.modes.other.get(path) and path not in written
    }
    if len(remodelled) > most:
        return None
    for path in sorted(remodelled):
        found = trees.look_up(new, after.tree, path)
        if found and found[0]:
            written[path] = found
        elif found and path in after.empty:
            written[path] = (TREE, "")
    _empty_directories(old, before, new, after, written, made.removed)
    return trees.Difference(sorted((path, *found) for path, found in written.items()), sorted(made.removed), made.lost)


def _empty_directories(
    old: Objects, before: Part, new: Objects, after: Part, written: dict[bytes, tuple[int, str]], removed: list[bytes]
) -> None:
    """Adds the directories that only one of the trees lacks."""
    were, are = _extra(before), _extra(after)
    for path in sorted(are):
        found = trees.look_up(new, after.tree, path)
        if found is None or found[0]:
            continue
        if path in removed:
            removed.remove(path)
            removed += _content_of(old, before, path, are)
        if path not in were:
            written[path] = (TREE, "")
    gone = set(removed)
    for path in sorted(were - are):
        found = trees.look_up(new, after.tree, path)
        if found is not None and not found[0] and not gone.intersection([*contents.above(path), path]):
            gone.add(path)
            removed.append(path)


def _extra(part: Part) -> set[bytes]:
    """The empty directories and those above them."""
    return {each for path in part.empty for each in (*contents.above(path), path)}


def _content_of(old: Objects, before: Part, path: bytes, kept: set[bytes]) -> Iterator[bytes]:
    """What a directory that is empty now had in it."""
    found = trees.look_up(old, before.tree, path)
    if not found or kind(found[0]) != TREE:
        return
    for mode, name, _ in old.tree(found[1]):
        inner = path + b"/" + name
        if inner not in kept:
            yield inner
        elif kind(mode) == TREE:
            yield from _content_of(old, before, inner, kept)


def delta_members(content: Content, delta: Delta) -> list[Member]:
    """The tar's members of a difference, with the directories above each."""
    sizes = {key: size for _, _, _, key, size in delta.written}
    found: dict[bytes, Member] = {}
    for number, path, mode, key, _ in delta.written:
        part = content[number]
        for each in contents.above(path):
            found.setdefault(part.prefix + each, contents.member(part, (each, TREE, ""), sizes))
        found[part.prefix + path] = contents.member(part, (path, mode, key), sizes)
    tops = {part.top: part for part in content}
    for path in delta.removed:
        for each in contents.above(path):
            if each not in found:
                found[each] = _directory(tops, each)
        found[path] = tar_members.whiteout(path)
    for part in content[1:]:
        if any(path.startswith(part.prefix) for path in found):
            for each in (*contents.above(part.top), part.top):
                found.setdefault(each, _directory(tops, each))
    return [found[path] for path in sorted(found)]


def _directory(tops: dict[bytes, Part], path: bytes) -> Member:
    """The member of a directory, by its path in the project directory."""
    for top in reversed([each for each in contents.above(path) if each in tops]):
        part = tops[top]
        return contents.member(part, (path[len(part.prefix) :], TREE, ""), {})
    return contents.member(tops[b""], (path, TREE, ""), {})
