"""The members of a checkout's tars: contents from git or from files. Pure but for what it is given to read."""

from __future__ import annotations

import tarfile
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from daemon import tar_stream
from daemon.checkouts import objects
from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.objects import AHEAD, COPY_BYTES, FILE, LINK, Objects
from daemon.tar_stream import BLOCK, Owner, padding
from protocol.workspace import MTIME

INDEX_MTIME = MTIME + 1
"""Time of `.git`'s files: git trusts an index that is newer than its files."""


class Member(NamedTuple):
    """A member of a tar. `mode` are permission bits; `size` is a regular file's.

    `source` is a blob's id, a file's path, or the content. `kind` is tar's.
    """

    path: bytes
    kind: bytes
    mode: int = 0
    size: int = 0
    source: str | Path | bytes = b""
    mtime: int = MTIME


def directory(path: bytes, mode: int, mtime: int = MTIME) -> Member:
    """A directory."""
    return Member(path, tarfile.DIRTYPE, mode, mtime=mtime)


def whiteout(path: bytes) -> Member:
    """The character device 0:0 that removes what lower layers have."""
    return Member(path, tarfile.CHRTYPE)


def content(path: bytes, mode: int, source: Path | bytes, mtime: int = INDEX_MTIME) -> Member:
    """A file whose content is not a blob."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return Member(path, tarfile.REGTYPE, mode, size, source, mtime)


def of_blob(path: bytes, mode: int, permissions: int, size: int, blob: str) -> Member:
    """A file or link of a tree, by git's mode."""
    if objects.kind(mode) == LINK:
        return Member(path, tarfile.SYMTYPE, 0o777, size, blob)
    assert objects.kind(mode) == FILE
    return Member(path, tarfile.REGTYPE, permissions, size, blob)


class Headers:
    """Tar headers for files of one owner; if `opened`, everybody may write to them."""

    def __init__(self, owner: Owner, *, opened: bool) -> None:
        self._owner = owner
        self._opened = opened

    def header(self, member: Member, link: bytes = b"") -> bytes:
        """A member's header. For a link, `link` is its target."""
        size = member.size if member.kind == tarfile.REGTYPE else 0
        header = tar_stream.Member(_text(member.path), member.kind, size, member.mode, member.mtime, _text(link))
        if self._opened:
            header.open()
        return header.encoded(self._owner)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def stream(
    source: Objects | None, members: Iterable[Member], owner: tuple[int, int], *, opened: bool
) -> Iterator[bytes]:
    """The tar of the members, in pieces; `source` has their blobs. Raises BadWorkspace, OSError."""
    yield from tar_stream.batched(_pieces(source, members, Headers(Owner(*owner), opened=opened)))
    yield bytes(2 * BLOCK)


def _pieces(source: Objects | None, members: Iterable[Member], headers: Headers) -> Iterator[bytes]:
    """Two parts are in flight: git reads the next one meanwhile."""
    asked: deque[list[Member]] = deque()
    for part in _parts(members):
        blobs = [member.source for member in part if isinstance(member.source, str)]
        if source and blobs:
            objects.ask(source.batch(), blobs)
        asked.append(part)
        if len(asked) > 1:
            yield from _some(source, asked.popleft(), headers)
    for part in asked:
        yield from _some(source, part, headers)


def _parts(members: Iterable[Member]) -> Iterator[list[Member]]:
    every = iter(members)
    while part := list(islice(every, AHEAD // 2)):
        yield part


def _some(source: Objects | None, part: list[Member], headers: Headers) -> Iterator[bytes]:
    process = source.batch() if source and any(isinstance(member.source, str) for member in part) else None
    for member in part:
        if isinstance(member.source, str):
            assert process is not None
            yield from _blob(process, member, member.source, headers)
        elif isinstance(member.source, bytes):
            yield headers.header(member)
            if member.size:
                yield member.source
                yield padding(member.size)
        else:
            yield headers.header(member)
            yield from _file(member, member.source)


def _blob(process: Popen[bytes], member: Member, blob: str, headers: Headers) -> Iterator[bytes]:
    found, size, out = objects.answer(process, blob)
    if found != "blob" or size != member.size:
        raise BadWorkspace(f"object {blob} is a {found} of {size} bytes, not a blob of {member.size}")
    if member.kind == tarfile.SYMTYPE:
        yield headers.header(member, out.read(size + 1)[:-1])
        return
    yield headers.header(member)
    left = size
    while left > COPY_BYTES:
        data = out.read(COPY_BYTES)
        if not data:
            break
        left -= len(data)
        yield data
    data = out.read(left + 1)
    if len(data) != left + 1:
        raise BadWorkspace(f"object {blob} is damaged")
    yield data[:-1]
    yield padding(size)


def _file(member: Member, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        left = member.size
        while left:
            data = file.read(min(left, COPY_BYTES))
            if not data:
                raise BadWorkspace(f"{path.name} is truncated")
            left -= len(data)
            yield data
    yield padding(member.size)
