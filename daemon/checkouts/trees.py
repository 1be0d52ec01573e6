"""Trees of files: totals without expansion, listings, and differences. Nothing here trusts a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.objects import FILE, LINK, LONGEST_LINK, SUBMODULE, TREE, Objects, kind, os_text

MOST_FILES = 1_000_000
"""Maximum files and directories of a checkout."""
MOST_BYTES = 64 << 30
"""Maximum size of a checkout's files: a small pack of endless data must not fill a disk."""
LONGEST_PATH = 4000
DEEPEST = 2000

Item = tuple[bytes, int, str]
"""A file, link, directory or submodule of a tree: path, git's mode, object id."""


class Totals(NamedTuple):
    """Of a tree: entries below it, bytes of its files, bytes of its longest path."""

    entries: int
    bytes: int
    longest: int


def measure(objects: Objects, root: str, known: Mapping[str, Totals]) -> dict[str, Totals]:
    """Reads a tree with all its subtrees, each once, and checks that nothing is missing, unsound or too large.

    Returns the totals of all trees that were read, and of `root`. Trees that are `known` are not read again.
    """
    order = _all_trees(objects, root, known)
    blobs: set[str] = set()
    links: set[str] = set()
    for one in order:
        for mode, _, key in objects.tree(one):
            if kind(mode) == FILE:
                blobs.add(key)
            elif kind(mode) == LINK:
                links.add(key)
    sizes = objects.sizes(blobs | links)
    totals = _totals(objects, root, sizes, known)
    for key in links:
        if not 0 < sizes[key] <= LONGEST_LINK:
            raise BadWorkspace(f"a symbolic link has a target of {sizes[key]} bytes")
    if links:
        _check_links(objects, order, links)
    return totals


def check_names(objects: Objects, root: str) -> None:
    """Reads a tree with all its subtrees, without its files, and checks that it is sound and not too large."""
    _all_trees(objects, root, {})
    _totals(objects, root, {}, {})


def _totals(objects: Objects, root: str, sizes: Mapping[str, int], known: Mapping[str, Totals]) -> dict[str, Totals]:
    totals: dict[str, Totals] = {}
    for one in _children_first(objects, root, known):
        entries = size = longest = 0
        for mode, name, key in objects.tree(one):
            entries, length = entries + 1, len(name)
            if kind(mode) == TREE:
                below = totals.get(key) or known[key]
                entries, size, length = entries + below.entries, size + below.bytes, length + 1 + below.longest
            elif kind(mode) != SUBMODULE:
                size += sizes.get(key, 0)
            longest = max(longest, length)
        totals[one] = Totals(entries, size, longest)
        check_totals(totals[one])
    if root in known:
        totals[root] = known[root]
    return totals


def check_totals(totals: Totals) -> None:
    """Refuses what is too large."""
    if totals.entries > MOST_FILES:
        raise BadWorkspace(f"it has more than {MOST_FILES} files")
    if totals.bytes > MOST_BYTES:
        raise BadWorkspace(f"its files have more than {MOST_BYTES >> 30} GiB")
    if totals.longest > LONGEST_PATH:
        raise BadWorkspace(f"it has a path of more than {LONGEST_PATH} bytes")


def _all_trees(objects: Objects, root: str, known: Mapping[str, Totals]) -> list[str]:
    """All trees that are not known, each once, level by level."""
    seen = {root}
    level, entries = [root] if root not in known else [], 0
    order: list[str] = []
    for _ in range(DEEPEST):
        objects.trees(level)
        order += level
        below: dict[str, None] = {}
        for one in level:
            for mode, _, key in objects.tree(one):
                entries += 1
                if kind(mode) == TREE and key not in seen and key not in known:
                    below[key] = None
        if entries > MOST_FILES:
            raise BadWorkspace(f"it has more than {MOST_FILES} files")
        if not below:
            return order
        seen |= below.keys()
        level = list(below)
    raise BadWorkspace(f"its directories are nested more than {DEEPEST} deep")


def _children_first(objects: Objects, root: str, known: Mapping[str, Totals]) -> Iterator[str]:
    done = set(known)
    stack: list[tuple[str, bool]] = [(root, False)]
    while stack:
        one, opened = stack.pop()
        if one in done:
            continue
        if opened:
            done.add(one)
            yield one
            continue
        stack.append((one, True))
        stack += [(key, False) for mode, _, key in objects.tree(one) if kind(mode) == TREE and key not in done]


def _check_links(objects: Objects, order: list[str], links: set[str]) -> None:
    """Refuses links into a `.git`."""
    wanted = sorted(links)
    bad = {key for key, target in zip(wanted, objects.read(wanted, "blob"), strict=True) if _is_bad(target)}
    if not bad:
        return
    for one in order:
        for mode, name, key in objects.tree(one):
            if kind(mode) == LINK and key in bad:
                raise BadWorkspace(f"the symbolic link {os_text(name)} leads into a .git directory; remove it")


def _is_bad(target: bytes) -> bool:
    if b"\0" in target:
        return True
    return not target.startswith(b"/") and any(part.lower() == b".git" for part in target.split(b"/"))


def walk(objects: Objects, root: str, prefix: bytes = b"") -> Iterator[Item]:
    """All entries of a tree, sorted by name within each directory, directories before their content."""
    stack: list[Iterator[Item]] = [_items(objects, root, prefix)]
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            continue
        yield item
        if kind(item[1]) == TREE:
            stack.append(_items(objects, item[2], item[0] + b"/"))


def _items(objects: Objects, one: str, prefix: bytes) -> Iterator[Item]:
    return iter([(prefix + name, mode, key) for mode, name, key in sorted(objects.tree(one), key=_name)])


def _name(entry: tuple[int, bytes, str]) -> bytes:
    return entry[1]


def look_up(objects: Objects, root: str, path: bytes) -> tuple[int, str] | None:
    """The mode and id of a path; mode 0 if it is absent; None if it is beyond a file, link or submodule."""
    mode, key = TREE, root
    for part in path.split(b"/"):
        if kind(mode) != TREE:
            return None
        found = next(((m, k) for m, name, k in objects.tree(key) if name == part), None)
        if found is None:
            return 0, ""
        mode, key = found
    return mode, key


def find(objects: Objects, root: str, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
    """The modes and ids of the files, links and submodules among some paths."""
    made: dict[bytes, tuple[int, str]] = {}
    known: dict[str, dict[bytes, tuple[int, str]]] = {}
    for path in paths:
        mode, key = TREE, root
        for part in path.split(b"/"):
            if kind(mode) != TREE:
                mode = 0
            else:
                if key not in known:
                    known[key] = {name: (m, k) for m, name, k in objects.tree(key)}
                mode, key = known[key].get(part, (0, ""))
            if not mode:
                break
        if mode and kind(mode) != TREE:
            made[path] = (mode, key)
    return made


class Difference(msgspec.Struct):
    """What makes one tree another: items to write, and paths to remove first, each with all below it.

    `lost` are the paths of all files and links that the new tree lacks.
    """

    written: list[Item] = []
    removed: list[bytes] = []
    lost: list[bytes] = []


def difference(old: Objects, old_root: str, new: Objects, new_root: str, limit: int) -> Difference | None:
    """The difference of two trees; None if it has more than `limit` items."""
    made = Difference()
    pairs = [(b"", old_root, new_root)] if old_root != new_root else []
    while pairs:
        level, pairs = pairs, []
        old.trees(one for _, one, _ in level)
        new.trees(one for _, _, one in level)
        for prefix, before, after in level:
            mine = {name: (mode, key) for mode, name, key in old.tree(before)}
            for mode, name, key in new.tree(after):
                was_mode, was_key = mine.pop(name, (0, ""))
                if (was_mode, was_key) == (mode, key):
                    continue
                path = prefix + name
                if kind(mode) == TREE and kind(was_mode) == TREE:
                    pairs.append((path + b"/", was_key, key))
                    continue
                if kind(was_mode) == TREE:
                    made.lost += [each for each, what, _ in walk(old, was_key, path + b"/") if kind(what) != TREE]
                elif was_mode and kind(mode) == TREE:
                    made.lost.append(path)
                made.written.append((path, mode, key))
                if kind(mode) == TREE:
                    made.written += walk(new, key, path + b"/")
            for name, (was_mode, was_key) in mine.items():
                path = prefix + name
                made.removed.append(path)
                if kind(was_mode) == TREE:
                    made.lost += [each for each, what, _ in walk(old, was_key, path + b"/") if kind(what) != TREE]
                else:
                    made.lost.append(path)
            if len(made.written) + len(made.removed) > limit:
                return None
    made.written.sort()
    made.removed.sort()
    return made
