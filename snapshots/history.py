"""The history that a snapshot includes: which commits and tags, cut at a depth as `git clone --depth` does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Set
from types import TracebackType

import msgspec

from protocol.decoders import from_msgpack
from protocol.workspace import MOST_COMMITS, is_branch
from snapshots.processes import GitFailed
from snapshots.store import SnapshotStore, update_file

TARGETS = ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME")
REMOTE = b"refs/remotes/origin/"
REFS = "%(objectname) %(objecttype) %(*objectname) %(*objecttype) %(refname)"
COMMITS = "commits"
"""File of the commits that the last snapshot has read."""
ASKED_AT_ONCE = 200
"""Commits: less than the pipes hold."""


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """A commit's tree and parents."""

    tree: str
    parents: list[str]


class CommitReader:
    """Reads commits, one process for all; those of the last snapshot are known without one."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._path = store.directory / COMMITS
        self._process: subprocess.Popen[bytes] | None = None
        self._used: dict[str, Commit | None] = {}
        try:
            self._known = from_msgpack(self._path.read_bytes(), dict[str, Commit])
        except (OSError, msgspec.MsgspecError):
            self._known = {}

    def __enter__(self) -> CommitReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._store.git.forget(self._process)
            existing = {id: commit for id, commit in self._used.items() if commit is not None}
            update_file(self._path, msgspec.msgpack.encode(existing))

    def commits(self, ids: Iterable[str]) -> dict[str, Commit | None]:
        """Commits by id; None for an object that is missing or no commit."""
        ids = list(ids)
        self._used.update((id, self._known[id]) for id in ids if id in self._known)
        asked = [id for id in dict.fromkeys(ids) if id not in self._used]
        for start in range(0, len(asked), ASKED_AT_ONCE):
            self._ask(asked[start : start + ASKED_AT_ONCE])
        return {id: self._used[id] for id in ids}

    def tree(self, id: str) -> str:
        """The tree of a commit. Raises GitFailed if it is missing."""
        commit = self.commits([id])[id]
        if commit is None:
            raise GitFailed(f"git can't read commit {id}")
        return commit.tree

    def parents(self, ids: Iterable[str]) -> set[str]:
        """All parents of commits."""
        return {parent for commit in self.commits(ids).values() if commit is not None for parent in commit.parents}

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
            self._used[id] = None
            if len(head) != 3:
                continue
            data = answers.read(int(head[2]) + 1)
            if head[1] == b"commit":
                tree, *lines = data.split(b"\n\n", 1)[0].decode("utf-8", "replace").split("\n")
                parents = [line.removeprefix("parent ") for line in lines if line.startswith("parent ")]
                self._used[id] = Commit(tree.removeprefix("tree "), parents)

    def walk(self, starts: Iterable[str], depth: int, boundaries: Set[str]) -> dict[str, int]:
        """Commits up to `depth` generations from any start, not beyond `boundaries`, with their generation, from 1."""
        found: dict[str, int] = {}
        generation = list(starts)
        for number in range(1, depth + 1):
            read = self.commits(id for id in generation if id not in found)
            found.update((id, number) for id, commit in read.items() if commit is not None)
            generation = [
                parent
                for id, commit in read.items()
                if commit is not None and id not in boundaries
                for parent in commit.parents
                if parent not in found
            ]
            if not generation:
                break
        return found


class Tag(msgspec.Struct, frozen=True):
    """A tag: the object it names, the commit that this leads to, and whether it is a tag object."""

    id: str
    commit: str
    annotated: bool


class Refs(msgspec.Struct):
    """A repository's refs that a job may need: ids of branches by full name, and tags by full name."""

    branches: dict[bytes, str] = {}
    tags: dict[bytes, Tag] = {}


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


def project_refs(refs: Refs, head: str, variables: Mapping[str, str]) -> tuple[dict[bytes, str], bytes]:
    """The pipeline's branch and target branch, by the names of their refs, and the ref of its tag."""

    def name(*keys: str) -> bytes:
        value = next((value for key in keys if (value := variables.get(key))), "")
        encoded = value.encode("utf-8", "surrogateescape")
        return encoded if is_branch(encoded) else b""

    branch = name("CI_COMMIT_BRANCH", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
    target = name(*TARGETS)
    tag = name("CI_COMMIT_TAG")
    heads = {REMOTE + branch if branch else b"": head}
    known = refs.branches.get(REMOTE + target) or refs.branches.get(b"refs/heads/" + target)
    if target and target != branch and known is not None:
        heads[REMOTE + target] = known
    return heads, b"refs/tags/" + tag if tag else b""


class History(msgspec.Struct):
    """Commits of one or more repositories, as deep as a job needs.

    `commits` are all of them, without those of `whole` histories; `tips` are commits and annotated tags from which the
    history starts, the heads first; `shallow` are commits whose parents are left out; `refs` are a job's.
    """

    tips: list[str] = []
    commits: set[str] = set()
    shallow: set[str] = set()
    refs: dict[bytes, str] = {}
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
        commits = reader.commits(walked)
        cut = {id for id, commit in commits.items() if commit and not result.commits.issuperset(commit.parents)}
        result.shallow = cut | (boundaries & result.commits)
    elif starts:
        result.whole = True
        result.shallow = set(boundaries)
    for name, tag in sorted(refs.tags.items(), key=lambda item: item[0] != own_tag):
        if not depth or tag.commit in result.commits:
            needs_tip = tag.annotated or not depth
            if needs_tip and tag.id not in tips and len(tips) >= MOST_COMMITS:
                continue
            result.refs[name] = tag.id
            if needs_tip:
                tips[tag.id] = None
    if own_tag and own_tag not in result.refs and starts:
        result.refs[own_tag] = starts[0]
    result.tips = list(tips)
    return result
