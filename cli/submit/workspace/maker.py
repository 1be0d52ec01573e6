"""Makes a run's workspace from a git repository. The user's repository is only read.

Interrupted, it leaves nothing but a cache and packs, whose upload can resume.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from threading import Lock

import msgspec

from cli.render.warnings import print_warning
from cli.submit.snapshot import TarWorkspaceMaker
from cli.submit.workspace.repositories import Scan, scan, submodules
from cli.submit.workspace.work_tree import WorkTree
from pipeline.git_repository import Repository, readable
from pipeline.rules import is_push_of_a_branch, target_branch
from protocol.client import Client
from protocol.errors import LongshoreError
from protocol.plan import Plan
from protocol.variables import expand_all
from protocol.workspace import MOST_CHANGES, Changes, GitWorkspace, Manifest
from snapshots.depths import Wanted, wanted
from snapshots.history import CommitReader, History, history_of, project_refs
from snapshots.packs import Made, Packer, remove_old
from snapshots.processes import Git, GitFailed
from snapshots.store import SnapshotStore


def workspace_maker(repository: Repository) -> WorkspaceMaker:
    """What makes the workspace of a run of this project."""
    if repository.has_git and shutil.which("git"):
        return GitWorkspaceMaker(repository)
    return TarWorkspaceMaker(repository)


class GitWorkspaceMaker:
    """Makes the workspace of one run. `read` may run in another thread, before the plan is known."""

    def __init__(self, repository: Repository, warn: Callable[[str], None] = print_warning) -> None:
        self._repository = repository
        self._warn = warn
        self._git = Git()
        self._store: SnapshotStore | None = None
        self._project: Scan | None = None
        self.made: Made | None = None  # the workspace, once `upload` has made it
        self._reading = Lock()

    def close(self) -> None:
        """Ends all of its processes, from any thread."""
        self._git.end()
        with self._reading:
            if self._store is not None:
                self._store.close()

    def read(self) -> Scan:
        """Reads the project's own files, index and refs; once."""
        with self._reading:
            return self._read()

    def _read(self) -> Scan:
        if self._project is None:
            tree = WorkTree.open(self._git, self._repository.root, self._repository.configuration)
            self._store = SnapshotStore(self._git, tree.top, tree.object_format)
            self._store.open(tree.objects)
            self._project = scan(self._store, tree, lambda: self._repository.tree)
            for path in self._project.left_out:
                self._warn(f"{readable(os.fsdecode(path))} is left out: git takes no file of such a name")
        return self._project

    def make(self, plan: Plan, workspaces: Sequence[GitWorkspace]) -> Made:
        """The workspace for a plan, built on one of the coordinator's if that is worth it. Raises LongshoreError."""
        try:
            return self._make(plan, workspaces)
        except GitFailed:
            if self._store is None or self._git.is_ended:
                raise
            self._store.forget()  # objects of the user's repository that it relied on may be gone
            self._project = None
            return self._make(plan, workspaces)

    def upload(self, plan: Plan, client: Client) -> GitWorkspace:
        """Makes the workspace for a plan, once, and uploads what the coordinator lacks of it. May be called again.

        Raises LongshoreError, CoordinatorUnreachable.
        """
        if self.made is None:
            self.made = self.make(plan, client.workspaces(plan.project))
        missing = {pack.digest for pack in client.missing_blobs(self.made.workspace.packs)}
        if not all(digest in self.made.files and self.made.files[digest].exists() for digest in missing):
            self.made = self.make(plan, [])  # what it builds on is gone
            missing = set(self.made.files)
        for digest in missing:
            client.upload(self.made.files[digest], digest)
        return self.made.workspace

    def _make(self, plan: Plan, workspaces: Sequence[GitWorkspace]) -> Made:
        needs = wanted(plan)
        variables = expand_all([*plan.predefined, *plan.run_variables])
        scans = [self.read()]
        store = self._store
        assert store is not None
        if needs.submodules != "none" and scans[0].listing.submodules:
            scans += submodules(store, scans[0], 0, recursive=needs.submodules == "recursive")
        with CommitReader(store) as reader:
            history = self._history(reader, scans, variables, needs)
            snapshot = self._write(store, scans, self._changes(plan, variables))
            heads = {number: head for number, found in enumerate(scans) if (head := found.manifest.head) is not None}
            return Packer(store, reader, history, needs.depth, heads).make(snapshot, workspaces)

    def _history(self, reader: CommitReader, scans: list[Scan], variables: dict[str, str], needs: Wanted) -> History:
        """The history of all repositories; sets the refs of their manifests."""
        whole = History()
        for number, found in enumerate(scans):
            head = found.manifest.head
            heads: dict[bytes, str] = {}
            tag = b""
            if head is not None and number == 0:
                heads, tag = project_refs(found.refs, head, variables)
            elif head is not None:
                heads = _submodule_refs(found, head)
            depth = needs.submodule_depth if number else needs.depth
            own = history_of(reader, heads, found.refs, tag, depth, found.tree.shallow)
            found.manifest = msgspec.structs.replace(found.manifest, refs=dict(sorted(own.refs.items())))
            whole.add(own)
        return whole

    def _changes(self, plan: Plan, variables: dict[str, str]) -> Changes | None:
        """What child pipelines of this one consider changed; None without children, or if all files count as changed.

        Only this repository knows the last push; when a child is compiled, its file may come from a job.
        """
        target = target_branch(variables)
        if not any(job.trigger is not None and job.trigger.include for job in plan.jobs):
            return None
        if target is None and not is_push_of_a_branch(variables):
            return None
        try:
            paths = self._repository.changed_files(target)
        except LongshoreError:
            return None  # an unknown target: rules that need it have failed in the parent
        if paths is None or len(paths) > MOST_CHANGES:
            return None
        return Changes(compared_to=target or "", paths=sorted(paths))

    def _write(self, store: SnapshotStore, scans: list[Scan], changes: Changes | None) -> str:
        """Writes the snapshot's tree; its id."""
        repositories = [found.manifest for found in scans]
        staged = store.sizes(sorted(set().union(*(found.staged for found in scans))))
        manifest = Manifest(repositories=repositories, changes=changes)
        return store.write_snapshot(manifest, staged, (found.files for found in scans))

    def submitted(self) -> None:
        """Removes the packs; later, old objects."""
        if self.made is not None:
            for path in self.made.files.values():
                path.unlink(missing_ok=True)
        if self._store is not None:
            remove_old(self._store.packs)
            self._store.tidy()


def _submodule_refs(found: Scan, head: str) -> dict[bytes, str]:
    """Branches at a submodule's commit, which `git submodule status` names."""
    at_head = (ref for ref, id in found.refs.branches.items() if id == head and not ref.endswith(b"/HEAD"))
    return dict.fromkeys(at_head, head) or {b"": head}


WorkspaceMaker = GitWorkspaceMaker | TarWorkspaceMaker
