"""The files that `rules:changes` of a child pipeline compares: those of its parent's push."""

from __future__ import annotations

from daemon.checkouts import trees
from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.indexing import TREE_OF_COMMIT
from daemon.checkouts.objects import TREE, Objects, kind
from daemon.checkouts.snapshot import Snapshot
from pipeline.git_repository import readable
from protocol.errors import LongshoreError
from protocol.names import OBJECT_ID
from protocol.workspace import MOST_CHANGES, Changes


class NoHistory:
    """A run whose changes are unknown: all files count as changed, as in GitLab."""

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """See `pipeline.rules.History`."""
        return None

    def last_change(self, path: str) -> str | None:
        """See `pipeline.rules.History`."""
        return None


class SnapshotHistory:
    """The changes of a run from a git repository, from its manifest and its snapshot's history."""

    def __init__(self, objects: Objects, snapshot: Snapshot, depth: int, changes: Changes | None) -> None:
        self._objects = objects
        self._top = snapshot.repositories[0]
        self._depth = depth
        self._changes = changes

    def changed_files(self, compare_to: str | None) -> set[str] | None:
        """See `pipeline.rules.History`: the client's own answer if it was asked the same, else from the snapshot."""
        if self._changes is not None and (compare_to or "") == self._changes.compared_to:
            return set(self._changes.paths)
        if compare_to is None or self._top.manifest.head is None:
            return None
        base = tree_of(self._objects, self._merge_base(compare_to))
        found = trees.difference(self._objects, base, self._objects, self._top.tree, MOST_CHANGES)
        if found is None:
            return None
        paths = [*(path for path, mode, _ in found.written if kind(mode) != TREE), *found.lost]
        return {readable(path.decode("utf-8", "surrogateescape")) for path in paths}

    def last_change(self, path: str) -> str | None:
        """See `pipeline.rules.History`: the file's content, as the snapshot's history is cut off (GIT_DEPTH)."""
        tree = self._top.tree
        found = ""
        for name in path.encode("utf-8", "surrogateescape").split(b"/"):
            entry = next((entry for entry in self._objects.tree(tree) if entry[1] == name), None) if tree else None
            if entry is None:
                return None
            mode, _, found = entry
            tree = found if kind(mode) == TREE else ""
        return found

    def _merge_base(self, compare_to: str) -> str:
        refs = self._top.manifest.refs
        bare = compare_to.removeprefix("refs/heads/")
        names = (compare_to, f"refs/tags/{compare_to}", f"refs/remotes/origin/{bare}")
        found = next((refs[name.encode()] for name in names if name.encode() in refs), "")
        commit = found or (compare_to if OBJECT_ID.fullmatch(compare_to) else "")
        head = self._top.manifest.head or ""
        try:
            if commit:
                return self._objects.repository.run("merge-base", commit, head).decode().strip()
        except BadWorkspace:
            pass  # unrelated, or beyond the snapshot's depth
        raise LongshoreError(
            f"{compare_to!r} can't be compared with: the run's snapshot has its own branch and target, with a history "
            f"of {self._depth or 'all'} commits (GIT_DEPTH)"
        )


def tree_of(objects: Objects, commit: str) -> str:
    """The tree of a commit. Raises BadWorkspace if it is missing, LongshoreError if it is malformed."""
    match = TREE_OF_COMMIT.match(next(objects.read([commit], "commit")))
    if match is None:
        raise LongshoreError(f"commit {commit} of the run's snapshot is malformed")
    return match[1].decode()
