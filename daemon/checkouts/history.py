"""The history that a job gets: commits up to a depth, as a pack of its own, built on that of an earlier job's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from daemon.checkouts import git
from daemon.checkouts.git import BadWorkspace, BareRepository
from daemon.checkouts.objects import Objects
from daemon.checkouts.snapshot import TAGS, Repository

PARENT = re.compile(rb"\nparent ([0-9a-f]+)")
OBJECT = re.compile(rb"\Aobject ([0-9a-f]+)\ntype ([a-z]+)\n")
MOST_TAGS_OF_TAGS = 8


class History(msgspec.Struct):
    """A repository's history: `tips` and the commits below them, with their parents, down to the `shallow` ones.

    `refs` are those that point into it; `tags` are the annotated tags among them, as objects.
    """

    tips: list[str]
    parents: dict[str, list[str]]
    shallow: list[str]
    refs: dict[bytes, str]
    tags: list[str]

    def key(self) -> str:
        """Identifies its commits."""
        return hashlib.sha256(" ".join([*sorted(self.tips), "-", *sorted(self.shallow)]).encode()).hexdigest()[:32]

    def contains(self, tips: Iterable[str], commits: set[str]) -> bool:
        """Whether this history contains that of `tips`, which are `commits`, as far as it is deep."""
        reached = set(tips)
        if not reached <= self.parents.keys():
            return False
        todo = list(reached)
        while todo:
            one = todo.pop()
            if one not in commits:
                return False
            for parent in self.parents[one]:
                if parent not in reached and parent in self.parents:
                    reached.add(parent)
                    todo.append(parent)
        return True


def read_history(objects: Objects, repository: Repository, depth: int, shallow: Sequence[str]) -> History:
    """The history of a repository, `depth` commits deep (0: all of it), above the workspace's `shallow` commits."""
    head, refs = repository.manifest.head, repository.manifest.refs
    if head is None:
        return History([], {}, [], {}, [])
    peeled, tags = _peel(objects, refs)
    wanted = [head, *(key for name, key in peeled.items() if depth == 0 or not name.startswith(TAGS))]
    tips = list(dict.fromkeys(wanted))
    ends = set(shallow)
    parents, last = _limited(objects, tips, depth, ends) if depth else (_all(objects, tips, ends), set())
    boundary = sorted(last | (ends & parents.keys()))
    for one in boundary:
        parents[one] = []
    there = {name: refs[name] for name, key in peeled.items() if key in parents}
    return History(tips, parents, boundary, there, sorted({one for name in there for one in tags.get(name, [])}))


def _peel(objects: Objects, refs: dict[bytes, str]) -> tuple[dict[bytes, str], dict[bytes, list[str]]]:
    """The commits that refs point to, and the annotated tags on the way, by ref."""
    found = {}
    wanted = list(dict.fromkeys(refs.values()))
    types = dict(zip(wanted, objects.types(wanted), strict=True))
    tags: dict[bytes, list[str]] = {}
    for name, key in refs.items():
        what = types[key]
        for _ in range(MOST_TAGS_OF_TAGS):
            if what != "tag":
                break
            match = OBJECT.match(next(objects.read([key], "tag")))
            if match is None:
                raise BadWorkspace(f"tag {key} is malformed")
            tags.setdefault(name, []).append(key)
            key, what = match[1].decode(), match[2].decode()
        if what == "commit":
            found[name] = key
        elif what not in ("tree", "blob", "tag"):
            raise BadWorkspace(f"{name.decode(errors='replace')} points to the missing object {key}")
    return found, tags


def _limited(objects: Objects, tips: list[str], depth: int, ends: set[str]) -> tuple[dict[str, list[str]], set[str]]:
    """The commits of the first `depth` generations with their parents, and those of the last generation."""
    parents: dict[str, list[str]] = {}
    level = tips
    for generation in range(1, depth + 1):
        for one, data in zip(level, objects.read(level, "commit"), strict=True):
            parents[one] = [] if one in ends else parents_of(data)
        if generation == depth:
            return parents, set(level)
        above = [parent for one in level for parent in parents[one]]
        level = list(dict.fromkeys(parent for parent in above if parent not in parents))
    return parents, set()


def parents_of(commit: bytes) -> list[str]:
    """The parents that a commit names."""
    return [parent.decode() for parent in PARENT.findall(commit.partition(b"\n\n")[0])]


def _all(objects: Objects, tips: list[str], ends: set[str]) -> dict[str, list[str]]:
    out = objects.repository.run("rev-list", "--parents", "--stdin", told=git.lines(tips))
    parents = {}
    for line in out.decode().splitlines():
        one, *above = line.split()
        parents[one] = [] if one in ends else above
    return parents


def count(repository: BareRepository, history: History) -> int:
    """The number of objects of a history that is as deep as the repository's. Raises BadWorkspace if one is missing."""
    arguments = ("rev-list", "--objects", "--no-object-names", "--stdin")
    out = repository.run(*arguments, told=git.lines(history.tips))
    return out.count(b"\n")


def is_within(repository: BareRepository, history: History) -> bool:
    """Whether a repository has all objects of a history."""
    try:
        return count(repository, history) > 0
    except BadWorkspace:
        return False


def existing(repository: BareRepository, history: History) -> list[str]:
    """The objects of a history that is as deep as the repository's, but for those that a partial clone lacks."""
    arguments = ("rev-list", "--objects", "--no-object-names", "--missing=allow-any", "--stdin")
    return repository.run(*arguments, told=git.lines(history.tips)).decode().split()


def pack(repository: BareRepository, history: History, without: Sequence[str], target: Path) -> str:
    """Packs a history, without that of other tips, into `target`. Returns the pack's name."""
    told = [*(f"--shallow {one}" for one in history.shallow), *history.tips, *(f"^{one}" for one in without)]
    return _pack(repository, ["--revs"], told, target)


def pack_objects(repository: BareRepository, ids: Sequence[str], target: Path) -> str:
    """Packs single objects into `target`. Returns the pack's name."""
    return _pack(repository, [], ids, target)


def _pack(repository: BareRepository, options: list[str], told: Sequence[str], target: Path) -> str:
    """`target` gets the files `pack` and `idx`. Objects are copied as they are stored."""
    arguments = ["pack-objects", "-q", "--window=0", "--delta-base-offset", *options, str(target / "new")]
    name = repository.run(*arguments, told=git.lines(told)).decode().split()[-1]
    for suffix in ("pack", "idx"):
        (target / f"new-{name}.{suffix}").rename(target / suffix)
    return name
