"""A run's workspace as it travels: the project's files and history in git packs, or a plain tar. Pure data.

`cli/submit` writes it, the coordinator stores its bytes as blobs, `daemon/checkouts` turns it into a job's project
directory. See docs/decisions/0017-git-workspaces.md.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from protocol.names import OBJECT_ID, Digest

ObjectId = Annotated[str, msgspec.Meta(pattern=rf"\A{OBJECT_ID.pattern}\Z")]
MOST_PACKS = 64
"""Maximum packs of one workspace; a client then starts again with a pack that holds everything."""
MOST_COMMITS = 100_000
"""Maximum `commits` of one workspace, and `shallow` ones: messages stay below codec.MAX_MAP_BYTES."""
MOST_CHANGES = 100_000
"""Maximum `Changes.paths`: more count as all files."""
MANIFEST = "manifest"
"""Name of the manifest's blob in a snapshot's tree."""
MTIME = 946_684_800
"""2000-01-01 UTC, the time of every file of a workspace: reproducible, and late enough for zip files (1980)."""
STAGED = "staged"
"""Name of the tree of blobs that only a repository's index refers to, each named by its object id."""
Size = Annotated[int, msgspec.Meta(ge=0)]
Commits = Annotated[list[ObjectId], msgspec.Meta(max_length=MOST_COMMITS)]
_BAD_REF = re.compile(rb"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(\A|/)\.|\.lock(/|\Z)|\A/|[/.]\Z|\A[^/]*\Z")


def is_ref(name: bytes) -> bool:
    """Whether git takes the full name of a ref, such as `refs/heads/main`: `git check-ref-format NAME`."""
    return not _BAD_REF.search(name)


def is_branch(name: bytes) -> bool:
    """Whether git takes the name of a new branch, or of a tag: `git check-ref-format --branch NAME`."""
    return name != b"HEAD" and not name.startswith(b"-") and is_ref(b"refs/heads/" + name)


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Base of this module's types."""


class Pack(Part, frozen=True, kw_only=True):
    """A git pack, stored as a blob. It may be thin: deltas against objects of the packs before it."""

    digest: Digest
    size: Size


class GitWorkspace(Part, frozen=True, kw_only=True, tag_field="form", tag="git"):
    """A snapshot of a git repository.

    `snapshot` is a tree: the blob `manifest` (a `Manifest` in msgpack), the tree `staged`, and for each of the
    manifest's repositories, by its index, the tree of its files as they are on disk. `packs`, oldest first, contain
    that tree and all that it refers to, and the history of `commits` (commits and annotated tags) without what lies
    beyond `shallow` commits. `depth` is that of the history; 0 is unlimited. The first `history` packs contain all of
    that history; the others contain only files.
    """

    snapshot: ObjectId
    packs: Annotated[list[Pack], msgspec.Meta(min_length=1, max_length=MOST_PACKS)]
    commits: Commits = []
    shallow: Commits = []
    depth: Annotated[int, msgspec.Meta(ge=0)] = 0
    history: Size = 0

    @property
    def id(self) -> str:
        """Identifies the files: workspaces with the same files have the same id."""
        return self.snapshot

    @property
    def blobs(self) -> list[Pack]:
        """All blobs of the workspace."""
        return self.packs

    @property
    def object_format(self) -> str:
        """The repository's object format, as git calls it."""
        return "sha1" if len(self.snapshot) == 40 else "sha256"

    @property
    def for_worker(self) -> GitWorkspace:
        """What a job needs of it: the tips only tell a client what its packs contain, and there may be many."""
        return msgspec.structs.replace(self, commits=[])


class TarWorkspace(Part, frozen=True, kw_only=True, tag_field="form", tag="tar"):
    """A directory that is no git repository, as a tar."""

    digest: Digest
    size: Size

    @property
    def id(self) -> str:
        """Identifies the files: workspaces with the same files have the same id."""
        return self.digest

    @property
    def blobs(self) -> list[Pack]:
        """All blobs of the workspace."""
        return [Pack(digest=self.digest, size=self.size)]

    @property
    def for_worker(self) -> TarWorkspace:
        """What a job needs of it."""
        return self


Workspace = GitWorkspace | TarWorkspace


class IndexEntry(Part, frozen=True, kw_only=True):
    """An entry of a repository's index that differs from its head's tree, or has a flag.

    `mode` is git's (0o100644, 0o100755, 0o120000, 0o160000); 0 removes the head's entry from the index. `clean`: git
    considers the file on disk unmodified although its bytes differ from the blob's (Git LFS, line endings).
    """

    path: bytes
    mode: int
    id: ObjectId | None = None
    stage: int = 0
    clean: bool = False
    intent_to_add: bool = False
    skip_worktree: bool = False


class Modes(Part, frozen=True, kw_only=True):
    """Permission bits on disk: of most files, executables and directories, and by path those of all `other` ones."""

    file: int = 0o644
    executable: int = 0o755
    directory: int = 0o755
    other: dict[bytes, int] = {}


class RepositoryManifest(Part, frozen=True, kw_only=True):
    """One repository of a snapshot: the project's own, or a submodule that is checked out. Paths are bytes, relative
    to the repository's top; `path` is that top's, relative to the top of the repository number `parent`.

    `name` is the submodule's in `.gitmodules`. `url` is the address of `origin`, without credentials; empty without
    one. `head` is the checked-out commit; None before the first one. `branch` is the checked-out branch, also the
    unborn one. `refs` are full names as they are to be in a job: `refs/remotes/origin/BRANCH`, `refs/tags/TAG`, and in
    a submodule also `refs/heads/BRANCH`. `empty` are directories without files. `partial`: it is a partial clone, whose
    history may lack trees and blobs.
    """

    path: bytes = b""
    parent: int = 0
    name: bytes = b""
    url: str = ""
    head: ObjectId | None = None
    branch: str = ""
    refs: dict[bytes, ObjectId] = {}
    index: list[IndexEntry] = []
    modes: Modes = Modes()
    empty: list[bytes] = []
    partial: bool = False


class Changes(Part, frozen=True, kw_only=True):
    """The `paths` that `rules:changes` considers changed, for the run's child pipelines.

    `compared_to` is the target branch of a merge request pipeline; empty: since the branch's last push.
    """

    compared_to: str = ""
    paths: list[str] = []


class Manifest(Part, frozen=True, kw_only=True):
    """Data that a snapshot's trees can't express. The first repository is the project's; parents precede submodules.

    `changes` are there if the run may start child pipelines, and its changes are known.
    """

    repositories: list[RepositoryManifest]
    changes: Changes | None = None
