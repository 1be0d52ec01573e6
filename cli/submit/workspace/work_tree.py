"""One repository of the user's, only ever read: where its parts are, its status, and what its index knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import islice
from pathlib import Path

import msgspec

from cli.submit.workspace.index_file import known_files
from pipeline.file_listing import STAMP, FileStatus
from pipeline.git_directory import GitDirectory, Unreadable
from pipeline.git_repository import parse_configuration
from protocol.errors import LongshoreError
from snapshots.history import REFS
from snapshots.processes import Git, in_work_tree
from snapshots.store import SnapshotStore, update_file

CONVERTING = ("filter", "working-tree-encoding")
"""Attributes by which a file may differ from its blob without a difference in size."""
UNSET = (b"unspecified", b"unset")
BATCH = 20_000
"""Files that git is asked about at once: an answer takes some 700 bytes of memory for each."""


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """Tells whether a file is still the one that was copied."""

    mtime_ns: int
    inode: int
    size: int


class WorkTree(msgspec.Struct, frozen=True):
    """The repository at `top`. `common` has what its worktrees share; `config` has lower-case keys."""

    git: Git
    top: Path
    directory: Path
    common: Path
    config: dict[str, str]

    @classmethod
    def open(cls, git: Git, top: Path, config: dict[str, str] | None = None) -> WorkTree:
        """The repository at `top`; reads its configuration unless it is given. Raises LongshoreError."""
        try:
            found = GitDirectory.of(top)
        except Unreadable as error:
            raise LongshoreError(str(error)) from error
        if config is None:
            config = parse_configuration(git.run(in_work_tree(top), "config", "-z", "--list"))
        return cls(git, top, found.path, found.common, config)

    @property
    def object_format(self) -> str:
        """As git calls it: sha1 or sha256."""
        return self.config.get("extensions.objectformat", "sha1")

    @property
    def objects(self) -> Path:
        """The folder of its objects."""
        return self.common / "objects"

    @property
    def shallow(self) -> set[str]:
        """Commits whose parents are not there."""
        try:
            return set((self.common / "shallow").read_text().split())
        except FileNotFoundError:
            return set()

    @property
    def partial(self) -> bool:
        """Whether it is a partial clone."""
        remotes = [key for key in self.config if key.startswith("remote.") and key.endswith(".promisor")]
        return "extensions.partialclone" in self.config or any(self.flag(key, False) for key in remotes)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean setting."""
        value = self.config.get(key)
        return default if value is None else value.lower() not in ("false", "no", "off", "0", "")

    def _harmless(self) -> list[str]:
        """Options that disable the filters of the configuration."""
        options: list[str] = []
        for key in self.config:
            if key.startswith("filter."):
                name, _, what = key.rpartition(".")
                if what in ("clean", "smudge", "process"):
                    options += ["-c", f"{key}="]
                elif what == "required":
                    options += ["-c", f"{name}.required=false"]
        return options

    def start_status(self, store: SnapshotStore, copy: Path) -> subprocess.Popen[bytes]:
        """Starts `git status --porcelain=v2 --branch` without untracked files; its records end in NUL.

        Uses and refreshes a copy of the index, `copy`. A sparse index may need trees, which go to the store.
        """
        self._copy_index(copy)
        options = (
            *("-c", "core.splitIndex=false"),  # it would be written into the user's repository
            *("-c", "core.checkStat=default", "-c", "core.trustctime=true"),  # any change is one of the copied index
            *("-c", "core.untrackedCache=false", "-c", "status.relativePaths=false"),
        )
        return self.git.start(
            (*in_work_tree(self.top), *self._harmless(), *options),
            *("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z"),
            *("--no-renames", "--untracked-files=no", "--ignore-submodules=dirty"),
            environment={
                "GIT_INDEX_FILE": str(copy),
                "GIT_OBJECT_DIRECTORY": str(store.objects),
                "GIT_OPTIONAL_LOCKS": "1",
            },
            asked=b"",
        )

    def start_refs(self) -> subprocess.Popen[bytes]:
        """Starts `git for-each-ref` for all refs that a job may need."""
        folders = ("refs/heads", "refs/remotes/origin", "refs/tags")
        return self.git.start(in_work_tree(self.top), "for-each-ref", f"--format={REFS}", *folders, asked=b"")

    def _copy_index(self, copy: Path) -> None:
        """Copies the index with its time, by which git knows which entries may be out of date."""
        index, noted = self.directory / "index", copy.with_name(copy.name + ".of")
        try:
            found = index.stat()
        except FileNotFoundError:
            copy.unlink(missing_ok=True)
            noted.unlink(missing_ok=True)
            return
        stamp = msgspec.json.encode(Stamp(found.st_mtime_ns, found.st_ino, found.st_size))
        if copy.exists() and noted.exists() and noted.read_bytes() == stamp:
            return
        copy.with_name(copy.name + ".lock").unlink(missing_ok=True)  # of an interrupted run
        noted.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(dir=copy.parent)
        os.close(descriptor)
        shutil.copy2(index, name)
        os.replace(name, copy)
        update_file(noted, stamp)

    def known_files(self, store: SnapshotStore, copy: Path, statuses: dict[bytes, FileStatus]) -> dict[bytes, bytes]:
        """Stamps with raw ids, by path, of those files with these statuses that have the very bytes of their blobs in
        the copied index. Takes the statuses out of the dictionary.

        Conversions of line ends and of idents only ever shorten what is on disk.
        """
        try:
            found = known_files(copy.read_bytes(), copy.stat().st_mtime_ns, len(store.zero) // 2, statuses)
        except FileNotFoundError:
            return {}
        paths = iter(list(found))
        while batch := list(islice(paths, BATCH)):
            asked = b"".join(path + b"\0" for path in batch)
            answer = self.git.run(in_work_tree(self.top), "check-attr", "-z", "--stdin", *CONVERTING, asked=asked)
            answered = answer.split(b"\0")
            converted = {path for path, value in zip(answered[::3], answered[2::3], strict=False) if value not in UNSET}
            ids = {path: found[path][STAMP.size :].hex() for path in batch}
            sizes = store.sizes(set(ids.values()))
            for path, id in ids.items():
                if path in converted or sizes.get(id) != STAMP.unpack_from(found[path])[3]:
                    del found[path]
        return found
