"""The small text files of a job's `.git`. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from daemon.checkouts.history import History
from daemon.checkouts.snapshot import Repository


def text_files(repository: Repository, history: History, modules: Sequence[Repository]) -> dict[bytes, bytes]:
    """By name within its git directory; `modules` are its submodules that are checked out."""
    head = repository.manifest.head
    files = {
        b"HEAD": head.encode() + b"\n" if head else b"ref: refs/heads/" + repository.branch + b"\n",
        b"config": _config(repository, modules),
    }
    if history.refs:
        lines = [key.encode() + b" " + name for name, key in sorted(history.refs.items())]
        files[b"packed-refs"] = b"\n".join([b"# pack-refs with: sorted ", *lines, b""])
    if history.shallow:
        files[b"shallow"] = "".join(f"{one}\n" for one in history.shallow).encode()
    return files


def git_file(repository: Repository) -> bytes:
    """The content of a submodule's `.git` file."""
    return b"gitdir: " + posixpath.relpath(repository.git_dir, repository.top) + b"\n"


def _config(repository: Repository, modules: Sequence[Repository]) -> bytes:
    sha256 = len(repository.tree) == 64
    promised = repository.manifest.partial and repository.manifest.url  # what is missing is then fetched on demand
    lines = [
        b"[core]",
        b"\trepositoryformatversion = %d" % bool(sha256 or promised),
        b"\tfilemode = true",
        b"\tbare = false",
        b"\tlogallrefupdates = true",
        b"\tcheckStat = minimal",
        b"\ttrustctime = false",
    ]
    if repository.level:
        lines.append(b"\tworktree = " + _quoted(posixpath.relpath(repository.top, repository.git_dir)))
    if sha256:
        lines += [b"[extensions]", b"\tobjectformat = sha256"]
    if promised:
        lines += [b"[extensions]", b"\tpartialclone = origin"]
    if repository.manifest.url:
        lines += [
            b'[remote "origin"]',
            b"\turl = " + _quoted(repository.manifest.url.encode("utf-8", "surrogateescape")),
            b"\tfetch = +refs/heads/*:refs/remotes/origin/*",
            *([b"\tpromisor = true"] if promised else []),
        ]
    for one in modules:
        lines += [b"[submodule " + _section(one.manifest.name) + b"]", b"\tactive = true"]
        if one.manifest.url:
            lines.append(b"\turl = " + _quoted(one.manifest.url.encode("utf-8", "surrogateescape")))
    return b"\n".join([*lines, b""])


def _quoted(value: bytes) -> bytes:
    """A value of git's configuration."""
    for plain, escaped in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\t", b"\\t"), (b"\b", b"\\b")):
        value = value.replace(plain, escaped)
    return b'"' + value + b'"'


def _section(name: bytes) -> bytes:
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
