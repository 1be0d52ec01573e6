"""Records of the files that a pipeline was compiled from, and the commits that a lock file holds includes to. Pure."""

from __future__ import annotations

import msgspec


class Provenance(msgspec.Struct, frozen=True):
    """Where the files of one source come from.

    `project` is empty for the pipeline's own project; `ref` is as written, and empty for the default branch or none;
    `commit` is empty for files on disk; `origin` is a server's address without credentials, or a directory.
    `lock_key` is the name in a lock file, empty for what is not fetched. `version` is a component's.
    """

    project: str = ""
    ref: str = ""
    commit: str = ""
    origin: str = ""
    lock_key: str = ""
    version: str = ""


class SourceRecord(msgspec.Struct, frozen=True):
    """A file that a pipeline was compiled from; `file` is empty where only the names of all files were read.

    `sha256` is the digest, in hex, of the content of a file that has no commit.
    """

    file: str
    provenance: Provenance
    sha256: str = ""


class Pin(msgspec.Struct, frozen=True):
    """What a lock file says about one lock key: a project's commit with its version, or a remote file's digest."""

    commit: str = ""
    version: str = ""
    sha256: str = ""


def lock_key(project: str, ref: str, host: str = "") -> str:
    """The name in a lock file of a project at a ref, on another server than the project's own if `host` is given."""
    return f"{host}/{project}@{ref or 'HEAD'}" if host else f"{project}@{ref or 'HEAD'}"
