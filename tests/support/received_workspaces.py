"""Takes workspaces of packs as a coordinator and a worker do, with git alone: stores packs, indexes, reads trees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cli.submit.workspace.maker import GitWorkspaceMaker
from pipeline import Repository
from protocol.plan import JobPlan, Plan, Variable
from protocol.workspace import GitWorkspace, IndexEntry, Manifest, RepositoryManifest
from snapshots.packs import Made
from tests.support.project import GIT_ENVIRONMENT


def plan_of(*jobs: dict[str, str], **variables: str) -> Plan:
    """A plan whose jobs have these variables; `variables` are the pipeline's."""
    made = [
        JobPlan(name=f"j{number}", stage="test", script=["true"], variables=_variables(own))
        for number, own in enumerate(jobs or ({},))
    ]
    return Plan(
        name="p", project="g/p", project_dir="/builds/g/p", stages=["test"], jobs=made, predefined=_variables(variables)
    )


def _variables(values: dict[str, str]) -> list[Variable]:
    return [Variable(key=key, value=value) for key, value in values.items()]


def listing(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Mode, size, time and inode of everything below `root`/.git, wherever that is.

    Any command of git's that reads a split or sparse index renews the times of shared indexes and loose objects.
    """
    dot_git = root / ".git"
    folder = dot_git.resolve() if dot_git.is_dir() else Path(dot_git.read_text().strip().removeprefix("gitdir: "))
    folder = next((parent for parent in (folder, *folder.parents) if (parent / "objects").is_dir()), folder)
    sparse = (
        "sparse = true" in (folder / "config.worktree").read_text() if (folder / "config.worktree").exists() else False
    )
    found = {}
    for path, names, files in os.walk(folder):
        for name in [".", *names, *files]:
            status = os.lstat(os.path.join(path, name))
            renewed = name.startswith("sharedindex.") or (len(name) >= 38 and (folder / "index").exists() and sparse)
            time = 0 if renewed else status.st_mtime_ns
            found[os.path.join(path, name)] = status.st_mode, status.st_size, time, status.st_ino
    return found


def make(
    root: Path, plan: Plan | None = None, bases: Iterable[GitWorkspace] = (), warnings: list[str] | None = None
) -> Made:
    """The workspace of a project; its `.git` must be untouched by that. Adds to `warnings`."""
    before = listing(root)
    warnings = [] if warnings is None else warnings
    with closing(GitWorkspaceMaker(Repository(root), warnings.append)) as maker:
        made = maker.make(plan or plan_of(), list(bases))
    assert listing(root) == before
    return made


@dataclass
class Received:
    """A workspace as it arrived: a bare repository of its packs only."""

    folder: Path
    workspace: GitWorkspace

    def git(self, *arguments: str, asked: bytes | None = None) -> bytes:
        """Runs git in the bare repository."""
        return git(self.folder, *arguments, asked=asked)

    @property
    def manifest(self) -> Manifest:
        """The snapshot's manifest."""
        data = self.git("cat-file", "blob", f"{self.workspace.snapshot}:manifest")
        return msgspec.msgpack.decode(data, type=Manifest)

    @property
    def project(self) -> RepositoryManifest:
        """The manifest of the project's own repository."""
        return self.manifest.repositories[0]

    def files(self, repository: int = 0) -> dict[bytes, tuple[str, bytes]]:
        """Git's mode and content of a repository's files."""
        found = {}
        for line in self.git("ls-tree", "-r", "-z", f"{self.workspace.snapshot}:{repository}").split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, id = head.decode().split()
            found[path] = mode, self.git("cat-file", "blob", id)
        return found

    def contents(self, repository: int = 0) -> dict[bytes, bytes]:
        """Contents of a repository's files."""
        return {path: content for path, (_, content) in self.files(repository).items()}

    def index(self, repository: int = 0) -> dict[bytes, list[IndexEntry]]:
        """Entries of the index that differ from the head's."""
        found: dict[bytes, list[IndexEntry]] = {}
        for entry in self.manifest.repositories[repository].index:
            found.setdefault(entry.path, []).append(entry)
        return found

    def commits(self) -> list[str]:
        """All commits that the workspace says it has, newest first."""
        return (
            self.git("rev-list", "--topo-order", *self.workspace.commits).decode().split()
            if self.workspace.commits
            else []
        )


class Receiver:
    """Stores packs by digest, as a coordinator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packs: dict[str, bytes] = {}
        self.workspaces: list[GitWorkspace] = []
        self.sent: list[int] = []

    def receive(self, made: Made, *, partial: bool = False) -> Received:
        """Stores what was sent, and unpacks the workspace from its own packs alone.

        All objects must be there, those of a `partial` history excepted.
        """
        self.sent = []
        for digest, path in made.files.items():
            self._packs[digest] = path.read_bytes()
            self.sent.append(len(self._packs[digest]))
        self.workspaces.insert(0, made.workspace)
        folder = self._folder / str(len(self.workspaces))
        workspace = made.workspace
        git(None, "init", "-q", "--bare", f"--object-format={workspace.object_format}", str(folder))
        (folder / "shallow").write_text("".join(f"{id}\n" for id in workspace.shallow))
        for pack in workspace.packs:
            assert len(self._packs[pack.digest]) == pack.size
            git(folder, "index-pack", "--stdin", "--fix-thin", asked=self._packs[pack.digest])
        git(folder, "rev-list", "--objects", workspace.snapshot, *(() if partial else workspace.commits))
        return Received(folder, workspace)


def git(folder: Path | None, *arguments: str, asked: bytes | None = None, **variables: str) -> bytes:
    """Runs git, in a folder."""
    environment = GIT_ENVIRONMENT | variables
    done = subprocess.run(["git", *arguments], cwd=folder, input=asked, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
