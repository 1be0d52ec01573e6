"""Where included files are read from: a work tree, or a ref of a git repository. Knows nothing of YAML."""

from __future__ import annotations

import stat
from functools import cached_property
from pathlib import Path
from typing import Protocol

from coordinator.pipelinefile.repository import Repository, git_output
from coordinator.pipelinefile.yaml_loader import MAX_FILE_BYTES
from protocol.errors import LongshoreError


class Source(Protocol):
    """A project's files. `label` stands before their names in messages; it is empty for the project itself."""

    label: str

    @property
    def files(self) -> list[str]:
        """All files, relative to the project's top."""

    def read(self, path: str) -> bytes | None:
        """A file's bytes (at most one more than a pipeline file may have); None if there is none.

        Raises LongshoreError for what can't be read.
        """


class WorkTree:
    """The files as they lie in a directory."""

    def __init__(self, repository: Repository, label: str = "") -> None:
        self.label = label
        self._repository = repository

    @property
    def files(self) -> list[str]:
        return self._repository.files

    def read(self, path: str) -> bytes | None:
        return read_file(self._repository.root / path)


class GitTree:
    """The files as they are in a commit."""

    def __init__(self, root: Path, ref: str, label: str) -> None:
        self.label = label
        self._root = root
        self._ref = ref

    @cached_property
    def files(self) -> list[str]:
        listed = git_output(self._root, "ls-tree", "-r", "-z", "--name-only", self._ref)
        if listed is None:
            raise LongshoreError(f"there is no ref {self._ref!r} in {self._root}")
        return [name for name in listed.decode("utf-8", "replace").split("\0") if name]

    def read(self, path: str) -> bytes | None:
        if path not in self.files:
            return None
        size = git_output(self._root, "cat-file", "-s", f"{self._ref}:{path}")
        if size is None or int(size) > MAX_FILE_BYTES:
            raise LongshoreError(f"is larger than {MAX_FILE_BYTES >> 20} MB")
        return git_output(self._root, "cat-file", "blob", f"{self._ref}:{path}")


def read_file(path: Path) -> bytes | None:
    """A regular file's first bytes, one more than a pipeline file may have; None if there is none.

    Raises LongshoreError saying why it can't be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise LongshoreError("is a directory" if stat.S_ISDIR(mode) else "is no regular file")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LongshoreError(f"can't be read: {reason}") from None


def source_of(root: Path, ref: str | None, label: str) -> Source:
    """A mapped project's files: at a ref if one is given, else as they lie there. Raises LongshoreError."""
    if not root.is_dir():
        raise LongshoreError(f"the directory {root} that it is mapped to is not there")
    repository = Repository(root)
    if ref is None or (ref == "HEAD" and not repository.has_git):
        return WorkTree(repository, label)
    sha = git_output(repository.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    sha = sha or git_output(
        repository.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"origin/{ref}^{{commit}}"
    )
    if not repository.has_git or sha is None:
        raise LongshoreError(f"there is no ref {ref!r} in {root}")
    return GitTree(repository.root, sha.decode().strip(), label)
