"""The history that a snapshot includes: which commits and tags, cut at a depth as `git clone --depth` does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from types import TracebackType

from cli.submit.workspace.processes import GitFailed
from cli.submit.workspace.store import SnapshotStore

REFS = "%(objectname) %(objecttype) %(*objectname) %(*objecttype) %(refname)"


class CommitReader:
    """Reads commits, one process for all; remembers their parents."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        self._parents: dict[str, list[str] | None] = {}
        self._trees: dict[str, str] = {}

    def __enter__(self) -> CommitReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._store.git.forget(self._process)

    def parents(self, ids: Iterable[str]) -> dict[str, list[str] | None]:
        """Parents of commits; None for an object that is missing or no commit."""
        ids = list(ids)
        asked = [id for id in dict.fromkeys(ids) if id not in self._parents]
        for start in range(0, len(asked), 200):  # less than the pipes hold
            self._ask(asked[start : start + 200])
        return {id: self._parents[id] for id in ids}

    def tree(self, commit: str) -> str:
        """The tree of a commit. Raises GitFailed if it is missing."""
        self.parents([commit])
        if commit not in self._trees:
            raise GitFailed(f"git can't read commit {commit}")
        return self._trees[commit]

    def _ask(self, ids: list[str]) -> None:
        if self._process is None:
            self._process = self._store.git.start(self._store.where, "cat-file", "--batch")
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        requests.write("".join(f"{id}\n" for id in ids).encode())
        requests.flush()
        for id in ids:
            head = answers.readline().split()
            if not head:
                self._store.git.check()
                raise GitFailed("git cat-file ended early")
            if len(head) != 3:
                self._parents[id] = None
                continue
            data = answers.read(int(head[2]) + 1)
            lines = data.split(b"\n\n", 1)[0].split(b"\n")
            if head[1] != b"commit":
                self._parents[id] = None
                continue
            self._trees[id] = lines[0].removeprefix(b"tree ").decode()
            self._parents[id] = [line[7:].decode() for line in lines if line.startswith(b"parent ")]

    def walk(self, starts: Iterable[str], depth: int, boundaries: Set[str]) -> dict[str, int]:
        """Commits up to `depth` generations from any start, not beyond `boundaries`, with their generation, from 1."""
        found: dict[str, int] = {}
        generation = list(starts)
        for number in range(1, depth + 1):
            read = self.parents(id for id in generation if id not in found)
            found.update((id, number) for id, parents in read.items() if parents is not None)
            generation = [
                parent
                for id, parents in read.items()
                if parents is not None and id not in boundaries
                for parent in parents
                if parent not in found
            ]
            if not generation:
                break
        return found


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: the object it names, the commit that this leads to, and whether it is a tag object."""

    id: str
    commit: str
    annotated: bool


@dataclass(slots=True)
class Refs:
    """A repository's refs that a job may need: ids of branches by full name, and tags by full name."""

    branches: dict[bytes, str] = field(default_factory=dict)
    tags: dict[bytes, Tag] = field(default_factory=dict)


def parse_refs(output: bytes) -> Refs:
    """Branches of the repository and of `origin`, and the tags of commits, from `git for-each-ref` in REFS' format."""
    found = Refs()
    for line in output.splitlines():
        id, kind, peeled, peeled_kind, name = line.split(b" ", 4)
        if not name.startswith(b"refs/tags/"):
            found.branches[name] = id.decode()
        elif b"commit" in (kind, peeled_kind):
            found.tags[name] = Tag(id.decode(), (peeled or id).decode(), kind == b"tag")
    return found


@dataclass(slots=True)
class History:
    """Commits of one or more repositories, as deep as a job needs.

    `commits` are all of them, without those of `whole` histories; `tips` are commits and annotated tags from which the
    history starts, the heads first; `shallow` are commits whose parents are left out; `refs` are a job's.
    """

    tips: list[str] = field(default_factory=list)
    commits: set[str] = field(default_factory=set)
    shallow: set[str] = field(default_factory=set)
    refs: dict[bytes, str] = field(default_factory=dict)
    whole: bool = False

    def add(self, other: History) -> None:
        """Adds the history of another repository, without its refs."""
        self.tips += [id for id in other.tips if id not in self.tips]
        self.commits |= other.commits
        self.shallow |= other.shallow
        self.whole |= other.whole


def history_of(
    reader: CommitReader, heads: dict[bytes, str], refs: Refs, own_tag: bytes, depth: int, boundaries: Set[str]
) -> History:
    """The history of `heads`, by the names of refs that a job gets for them (or empty names), and of its tags."""
    result = History(refs={name: id for name, id in heads.items() if name.startswith(b"refs/")})
    starts = list(dict.fromkeys(heads.values()))
    tag = refs.tags.get(own_tag)
    if tag is not None:
        starts = list(dict.fromkeys([*starts, tag.commit]))
    tips = dict.fromkeys(starts)
    if depth:
        walked = reader.walk(starts, depth, boundaries)
        result.commits = set(walked)
        cut = {id for id, parents in reader.parents(walked).items() if not set(parents or ()) <= result.commits}
        result.shallow = cut | (boundaries & result.commits)
    elif starts:
        result.whole = True
        result.shallow = set(boundaries)
    for name, tag in refs.tags.items():
        if not depth or tag.commit in result.commits:
            result.refs[name] = tag.id
            if tag.annotated or not depth:
                tips[tag.id] = None
    if own_tag and own_tag not in result.refs and starts:
        result.refs[own_tag] = starts[0]
    result.tips = list(tips)
    return result
