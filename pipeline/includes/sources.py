"""Sources of included files on this machine: a work tree, or a ref of a git repository. Knows nothing of YAML."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.git_repository import Repository, git_output
from pipeline.includes.records import Provenance
from pipeline.yaml_loader import MAX_FILE_BYTES
from protocol.errors import LongshoreError

TOO_LARGE = f"is larger than {MAX_FILE_BYTES >> 20} MB"
"""What is wrong with a file that no pipeline may include."""
BLOB = "blob"
"""Git's type name for a file; a tree also lists submodules, whose files it does not know."""
_RAW_FILE = re.compile(r"https?://[^/]+/(?P<project>.+?)/-/raw/(?P<ref>[^/]+)/(?P<path>.+)\Z")


class Source(Protocol):
    """A project's files. `label` precedes their names in messages; it is empty for the project itself."""

    label: str
    provenance: Provenance

    @property
    def files(self) -> list[str]:
        """All files, relative to the project's root."""

    def read(self, path: str) -> bytes | None:
        """A file's content (at most one byte more than a pipeline file may have); None if it does not exist.

        Raises LongshoreError for an unreadable file.
        """

    def prefetch(self, paths: Iterable[str]) -> None:
        """Announces that these files are read next. Raises LongshoreError."""


class WorkTree:
    """The files in a directory, as they are."""

    def __init__(self, repository: Repository, label: str = "", provenance: Provenance | None = None) -> None:
        self.label = label
        self.provenance = provenance or Provenance(origin=str(repository.root))
        self._repository = repository

    @property
    def files(self) -> list[str]:
        return self._repository.files

    def read(self, path: str) -> bytes | None:
        data = read_file(self._repository.root / path)
        if data is not None and not self.label and not self._is_ours(path):
            raise LongshoreError("is not a file of the project: git ignores it, or a link leads outside")
        return data

    def prefetch(self, paths: Iterable[str]) -> None:
        """The files are here."""

    def _is_ours(self, path: str) -> bool:
        """Whether an existing file belongs to the project, like those that `files` lists for wildcards."""
        root = self._repository.root
        real = (root / path).resolve()
        return real.is_relative_to(root) and str(real.relative_to(root)) in self._repository.listing()


class GitTree:
    """The files of a commit."""

    def __init__(self, root: Path, ref: str, label: str, provenance: Provenance) -> None:
        self.label = label
        self.provenance = provenance
        self._root = root
        self._ref = ref

    @cached_property
    def files(self) -> list[str]:
        listed = git_output(self._root, "ls-tree", "-r", "-z", self._ref)
        if listed is None:
            raise LongshoreError(f"there is no ref {self._ref!r} in {self._root}")
        return list(blobs_of(listed))

    def read(self, path: str) -> bytes | None:
        if path not in self.files:
            return None
        size = git_output(self._root, "cat-file", "-s", f"{self._ref}:{path}")
        if size is None or int(size) > MAX_FILE_BYTES:
            raise LongshoreError(TOO_LARGE)
        return git_output(self._root, "cat-file", "blob", f"{self._ref}:{path}")

    def prefetch(self, paths: Iterable[str]) -> None:
        """The files are here."""


def blobs_of(listed: bytes) -> dict[str, str]:
    """The ids of the files in the output of `git ls-tree -r -z`, by path."""
    entries = (entry.partition("\t") for entry in listed.decode("utf-8", "replace").split("\0") if entry)
    return {name: head.split(" ")[2] for head, _, name in entries if f" {BLOB} " in head}


def read_file(path: Path) -> bytes | None:
    """A regular file's first bytes, one more than a pipeline file may have; None if it does not exist.

    Raises LongshoreError with the reason if it can't be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise LongshoreError("is a directory" if stat.S_ISDIR(mode) else "is not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LongshoreError(f"can't be read: {reason}") from None


def mapped_project(name: str, projects: Mapping[str, Path]) -> Path | None:
    """The user's directory of a project, if any: its own, or one inside its group's. Case-insensitive."""
    found = _mapped(name, projects)
    if found is None:
        return None
    root, rest = found
    return root / rest if rest else root


def remote_file(url: str, projects: Mapping[str, Path]) -> tuple[Source, str] | None:
    """The user's local source of a URL, if any, and the path in it.

    The source is a directory mapped to a prefix of the URL or, for a raw file's address on a GitLab server, that
    project. Raises LongshoreError if the directory does not have it.
    """
    found = _mapped_url(url, projects)
    return (source_of(found.root, found.ref, found.label), found.path) if found is not None else None


def is_mapped(name: str, projects: Mapping[str, Path]) -> bool:
    """Whether the user has named a directory for a project or a URL."""
    return (_mapped_url(name, projects) if "://" in name else _mapped(name, projects)) is not None


class _MappedUrl(NamedTuple):
    root: Path
    ref: str | None
    label: str
    path: str


def _mapped_url(url: str, projects: Mapping[str, Path]) -> _MappedUrl | None:
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    found = _mapped(bare, {name: root for name, root in projects.items() if "://" in name})
    if found is not None:
        folder, path = found
        return _MappedUrl(folder, None, bare[: len(bare) - len(path)], path)
    raw = _RAW_FILE.match(bare)
    if raw is not None and (root := mapped_project(raw["project"], projects)) is not None:
        return _MappedUrl(root, raw["ref"], f"{raw['project']}:", raw["path"])
    return None


def _mapped(name: str, projects: Mapping[str, Path]) -> tuple[Path, str] | None:
    """The directory of the longest mapped prefix of `name`, and the rest of `name`."""
    known = {key.strip("/").casefold(): root for key, root in projects.items()}
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        root = known.get("/".join(parts[:count]).casefold())
        if root is not None:
            inside = not {"", ".", ".."}.intersection(parts[count:])
            return (root, "/".join(parts[count:])) if inside else None
    return None


def source_of(root: Path, ref: str | None, label: str) -> Source:
    """A mapped project's files: at a ref if given, else as they are on disk, as in a directory without git.

    Raises LongshoreError.
    """
    if not root.is_dir():
        raise LongshoreError(f"it is mapped to {root}, which does not exist")
    repository = Repository(root, whole=True)
    project = label.removesuffix(":")
    if ref is None or not repository.has_git:
        return WorkTree(repository, label, Provenance(project, ref or "", origin=str(root)))
    for name in (ref, f"origin/{ref}"):
        sha = git_output(repository.root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if sha is not None:
            commit = sha.decode().strip()
            return GitTree(repository.root, commit, label, Provenance(project, ref, commit, str(root)))
    raise LongshoreError(
        f"{root} has no ref {ref!r}; fetch it, or map a directory without git, whose files are used as they are"
    )
