"""The workspace of a mirrored commit: its tree as it is, and as much history as jobs want. Nothing is checked out."""

from __future__ import annotations

from pathlib import Path

from protocol.client import Client
from protocol.plan import Plan
from protocol.variables import expand_all
from protocol.workspace import Changes, GitWorkspace, Manifest, RepositoryManifest, is_branch
from snapshots.depths import wanted
from snapshots.history import REMOTE, CommitReader, Refs, Tag, history_of, project_refs
from snapshots.packs import Made, Packer, remove_old
from snapshots.processes import Git
from snapshots.store import SnapshotStore
from team.mirrors import Mirror

TAGS = b"refs/tags/"


class MirroredWorkspace:
    """Makes and uploads the workspace of one run. `home` has the objects that workspaces need beside the mirror's."""

    def __init__(self, mirror: Mirror, home: Path, commit: str, url: str, changes: Changes | None) -> None:
        self._mirror = mirror
        self._commit = commit
        self._url = url
        self._changes = changes
        self._git = Git()
        self._store = SnapshotStore(self._git, mirror.path, mirror.refs.object_format, home)
        self._store.open(mirror.path / "objects")

    def close(self) -> None:
        """Ends all of its processes, from any thread."""
        self._git.end()
        self._store.close()

    def upload(self, plan: Plan, client: Client) -> GitWorkspace:
        """Makes the workspace for a plan, and uploads what the coordinator lacks of it.

        Raises LongshoreError, CoordinatorUnreachable.
        """
        made = self._make(plan, client.workspaces(plan.project))
        missing = {pack.digest for pack in client.missing_blobs(made.workspace.packs)}
        if not missing <= made.files.keys():
            made = self._make(plan, [])  # what it builds on is gone
            missing = {pack.digest for pack in client.missing_blobs(made.workspace.packs)}
        for digest in missing:
            client.upload(made.files[digest], digest)
        return made.workspace

    def submitted(self, workspace: GitWorkspace) -> None:
        """Removes old packs and objects."""
        for pack in workspace.packs:
            for path in self._store.packs.glob(f"*-{pack.digest}"):
                path.unlink(missing_ok=True)
        remove_old(self._store.packs)
        self._store.tidy()

    def _make(self, plan: Plan, known: list[GitWorkspace]) -> Made:
        needs = wanted(plan)
        variables = expand_all([*plan.predefined, *plan.run_variables])
        refs = self._refs()
        with CommitReader(self._store) as reader:
            heads, tag = project_refs(refs, self._commit, variables)
            history = history_of(reader, heads, refs, tag, needs.depth, frozenset())
            branch = next((name.removeprefix(REMOTE) for name in heads if name.startswith(REMOTE)), b"")
            manifest = RepositoryManifest(
                url=self._url,
                head=self._commit,
                branch=branch.decode("utf-8", "surrogateescape") if is_branch(branch) else "",
                refs=dict(sorted(history.refs.items())),
            )
            tree = bytes.fromhex(reader.tree(self._commit))
            whole = Manifest(repositories=[manifest], changes=self._changes if _has_children(plan) else None)
            snapshot = self._store.write_snapshot(whole, (), [tree])
            return Packer(self._store, reader, history, needs.depth, {0: self._commit}).make(snapshot, known)

    def _refs(self) -> Refs:
        """The mirror's refs as a clone has them."""
        refs = self._mirror.refs
        branches = {REMOTE + _raw(name): id for name, id in refs.branches.items()}
        tags = {}
        for name, id in refs.tags.items():
            commit = self._mirror.peeled(name)
            if commit:
                tags[TAGS + _raw(name)] = Tag(id, commit, annotated=commit != id)
        return Refs(branches, tags)


def _has_children(plan: Plan) -> bool:
    return any(job.trigger is not None and job.trigger.include for job in plan.jobs)


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
