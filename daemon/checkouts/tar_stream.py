"""Writes tars as streams: GNU headers, contents from git or from files. Pure but for what it is given to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from daemon.checkouts import objects
from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.objects import AHEAD, COPY_BYTES, FILE, LINK, Objects

MTIME = 946_684_800
"""2000-01-01 UTC for every file, as in a snapshot's tar: layers are reproducible, and an index can know its files."""
INDEX_MTIME = MTIME + 1
"""Time of `.git`'s files: git trusts an index that is newer than its files."""
BLOCK = 512
SEND_BYTES = 256 << 10
"""Bytes to send together."""
OPEN_DIRECTORY = 0o777
OPEN_FILE = 0o666


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


REGULAR, SYMLINK, DIRECTORY, DEVICE = b"0", b"2", b"5", b"3"


def directory(path: bytes, mode: int, mtime: int = MTIME) -> Member:
    """A directory."""
    return Member(path, DIRECTORY, mode, mtime=mtime)


def whiteout(path: bytes) -> Member:
    """The character device 0:0 that removes what lower layers have."""
    return Member(path, DEVICE)


def content(path: bytes, mode: int, source: Path | bytes, mtime: int = INDEX_MTIME) -> Member:
    """A file whose content is not a blob."""
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return Member(path, REGULAR, mode, size, source, mtime)


def of_blob(path: bytes, mode: int, permissions: int, size: int, blob: str) -> Member:
    """A file or link of a tree, by git's mode."""
    if objects.kind(mode) == LINK:
        return Member(path, SYMLINK, 0o777, size, blob)
    assert objects.kind(mode) == FILE
    return Member(path, REGULAR, permissions, size, blob)


class Headers:
    """Tar headers for files of one owner; if `opened`, everybody may write to them."""

    def __init__(self, owner: tuple[int, int], *, opened: bool) -> None:
        self._opened = opened
        self._ids = _number(owner[0], 8) + _number(owner[1], 8)
        self._fixed: dict[tuple[bytes, int, int], tuple[bytes, bytes, int]] = {}

    def header(self, member: Member, link: bytes = b"") -> bytes:
        """A member's header. For a link, `link` is its target."""
        name, prefix = member.path, b""
        if member.kind == DIRECTORY:
            name += b"/"
        if len(name) > 100:
            prefix += self._long(b"L", name)
            name = name[:100]
        if len(link) > 100:
            prefix += self._long(b"K", link)
            link = link[:100]
        mode = self._mode(member)
        fixed = self._fixed.get((member.kind, mode, member.mtime))
        if fixed is None:
            fixed = self._fixed[member.kind, mode, member.mtime] = self._fix(member.kind, mode, member.mtime)
        head, tail, total = fixed
        size = b"%011o\0" % member.size if member.size < 1 << 33 else _number(member.size, 12)
        if member.kind != REGULAR:
            size = b"00000000000\0"
        total += sum(name) + sum(size) + sum(link)
        return b"".join(
            (
                prefix,
                name.ljust(100, b"\0"),
                head,
                size,
                tail[:12],
                b"%06o\0 " % total,
                member.kind,
                link.ljust(100, b"\0"),
                tail[12:],
            )
        )

    def _mode(self, member: Member) -> int:
        if not self._opened or member.kind not in (REGULAR, DIRECTORY):
            return member.mode
        return OPEN_DIRECTORY if member.kind == DIRECTORY or member.mode & 0o100 else OPEN_FILE

    def _fix(self, kind: bytes, mode: int, mtime: int) -> tuple[bytes, bytes, int]:
        """The parts of a header that many members share, and their checksum."""
        head = b"%07o\0" % mode + self._ids
        devices = b"0000000\0" * 2 if kind == DEVICE else bytes(16)
        tail = b"%011o\0" % mtime + b"ustar  \0" + bytes(64) + devices + bytes(167)
        return head, tail, sum(head) + sum(tail) + 8 * 0x20 + kind[0]

    def _long(self, kind: bytes, text: bytes) -> bytes:
        """The member that carries a name or target of more than 100 bytes."""
        head, tail, total = self._fix(kind, 0o644, 0)
        size = b"%011o\0" % (len(text) + 1)
        name = b"././@LongLink"
        total += sum(name) + sum(size)
        parts = (name.ljust(100, b"\0"), head, size, tail[:12], b"%06o\0 " % total, kind, bytes(100), tail[12:])
        return b"".join(parts) + text + bytes(BLOCK - len(text) % BLOCK)


def _number(value: int, width: int) -> bytes:
    """A number field: octal, or binary if it is too large."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def stream(
    source: Objects | None, members: Iterable[Member], owner: tuple[int, int], *, opened: bool
) -> Iterator[bytes]:
    """The tar of the members, in pieces; `source` has their blobs. Raises BadWorkspace, OSError."""
    batch: list[bytes] = []
    size = 0
    for piece in _pieces(source, members, Headers(owner, opened=opened)):
        batch.append(piece)
        size += len(piece)
        if size >= SEND_BYTES:
            yield b"".join(batch)
            batch.clear()
            size = 0
    batch.append(bytes(2 * BLOCK))
    yield b"".join(batch)


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
                yield bytes(-member.size % BLOCK)
        else:
            yield headers.header(member)
            yield from _file(member, member.source)


def _blob(process: Popen[bytes], member: Member, blob: str, headers: Headers) -> Iterator[bytes]:
    found, size, out = objects.answer(process, blob)
    if found != "blob" or size != member.size:
        raise BadWorkspace(f"object {blob} is a {found} of {size} bytes, not a blob of {member.size}")
    if member.kind == SYMLINK:
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
    yield bytes(-size % BLOCK)


def _file(member: Member, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        left = member.size
        while left:
            data = file.read(min(left, COPY_BYTES))
            if not data:
                raise BadWorkspace(f"{path.name} is truncated")
            left -= len(data)
            yield data
    yield bytes(-member.size % BLOCK)
