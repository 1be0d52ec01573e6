"""Where included files are read from: a work tree, or a ref of a git repository. Knows nothing of YAML."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pipeline.git_repository import Repository, git_output
from pipeline.problems import nearest
from pipeline.yaml_loader import MAX_FILE_BYTES
from protocol.errors import LongshoreError

BLOB = "blob"
"""What git calls a file; a tree has submodules too, of which it knows no file."""
_RAW_FILE = re.compile(r"https?://[^/]+/(?P<project>.+?)/-/raw/(?P<ref>[^/]+)/(?P<path>.+)\Z")


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
        data = read_file(self._repository.root / path)
        if data is not None and not self.label and not self._is_ours(path):
            raise LongshoreError("is no file of the project: git ignores it, or a link leads out to it")
        return data

    def _is_ours(self, path: str) -> bool:
        """Whether a file that is there belongs to the project, as do those that `files` has for wildcards."""
        root = self._repository.root
        real = (root / path).resolve()
        return real.is_relative_to(root) and str(real.relative_to(root)) in self._repository.listing()


class GitTree:
    """The files as they are in a commit."""

    def __init__(self, root: Path, ref: str, label: str) -> None:
        self.label = label
        self._root = root
        self._ref = ref

    @cached_property
    def files(self) -> list[str]:
        listed = git_output(self._root, "ls-tree", "-r", "-z", self._ref)
        if listed is None:
            raise LongshoreError(f"there is no ref {self._ref!r} in {self._root}")
        entries = (entry.partition("\t") for entry in listed.decode("utf-8", "replace").split("\0") if entry)
        return [name for head, _, name in entries if f" {BLOB} " in head]

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


def mapped_project(name: str, projects: Mapping[str, Path]) -> Path:
    """The directory that the user keeps a project in: its own, or one in that of its group. Case makes no difference.

    Raises LongshoreError naming the option that says so.
    """
    found = _mapped(name, projects)
    if found is None:
        hint = nearest(name, projects)
        raise LongshoreError(
            f"project {name!r} is not known on this machine; name its directory: --project {name}=DIR"
            + (f" ({hint})" if hint else "")
        )
    root, rest = found
    return root / rest if rest else root


def remote_file(url: str, projects: Mapping[str, Path]) -> tuple[Source, str]:
    """Where the user keeps what a URL names, and its path there. Nothing is ever fetched.

    It is in a directory that is mapped to the beginning of the URL, or, if it is the address of a raw file on a GitLab
    server, in that project. Raises LongshoreError naming the option that says so.
    """
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    found = _mapped(bare, {name: root for name, root in projects.items() if "://" in name})
    if found is not None:
        root, path = found
        return source_of(root, None, f"{bare[: len(bare) - len(path)]}"), path
    raw = _RAW_FILE.match(bare)
    if raw is not None and _mapped(raw["project"], projects) is not None:
        return source_of(mapped_project(raw["project"], projects), raw["ref"], f"{raw['project']}:"), raw["path"]
    where = raw["project"] if raw is not None else bare.rpartition("/")[0]
    raise LongshoreError(
        f"{url[:200]} is not fetched: nothing is taken from a network; name a directory that has it: "
        f"--project {where}=DIR"
    )


def _mapped(name: str, projects: Mapping[str, Path]) -> tuple[Path, str] | None:
    """The directory of the longest name that `name` is or begins with, and what is left of `name`."""
    known = {key.strip("/").casefold(): root for key, root in projects.items()}
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        root = known.get("/".join(parts[:count]).casefold())
        if root is not None:
            inside = not {"", ".", ".."}.intersection(parts[count:])
            return (root, "/".join(parts[count:])) if inside else None
    return None


def source_of(root: Path, ref: str | None, label: str) -> Source:
    """A mapped project's files: at a ref if one is given, else as they lie there, as in a directory without git.

    Raises LongshoreError.
    """
    if not root.is_dir():
        raise LongshoreError(f"the directory {root} that it is mapped to is not there")
    repository = Repository(root, whole=True)
    if ref is None or not repository.has_git:
        return WorkTree(repository, label)
    for name in (ref, f"origin/{ref}"):
        sha = git_output(repository.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if sha is not None:
            return GitTree(repository.root, sha.decode().strip(), label)
    raise LongshoreError(
        f"there is no ref {ref!r} in {root}; fetch it, or give a directory without git, which is taken as it is"
    )
