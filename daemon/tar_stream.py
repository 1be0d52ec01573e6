"""Reads and writes tar archives as streams, member by member, in a tenth of `tarfile`'s time.

What is read here is written anew for the engine, never passed through: another reader, with another idea of an odd
header, then sees the members that were checked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from protocol.compression import DAMAGE

BLOCK = tarfile.BLOCKSIZE
END = bytes(BLOCK)
"""The header of no member, at an archive's end; without it the archive is truncated."""
COPY_BYTES = 1 << 20
WITHOUT_DATA = frozenset((
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE
))  # fmt: skip
"""Kinds whose size says nothing."""
EXTENSIONS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Members that only extend the next one's header."""
SEND_BYTES = 256 << 10
"""Bytes of headers and small files to send together."""
OPEN_DIRECTORY, OPEN_FILE = 0o777, 0o666
LONGEST_EXTENSION = 1 << 20
LONGEST_NAME = 100
MOST_SIZE, MOST_TIME, MOST_ID = 8**11, 8**11, 8**7
"""Bounds of a header's number fields; a larger number needs an extension."""
ENDING = b"ustar\x0000" + bytes(BLOCK - 265)
"""The rest of a header behind the link's target: no names of owners, no devices, no prefix."""
REST_SUM = sum(ENDING) + 8 * ord(" ")
"""Part of a header's checksum, which counts itself as spaces."""


class BadArchive(Exception):
    """A file is no tar archive, or is truncated."""


class Owner(NamedTuple):
    """Numeric user and group for files in a container."""

    uid: int
    gid: int


ROOT = Owner(0, 0)


class Member(msgspec.Struct):
    """A member's header. `kind` is one of `tarfile`'s types; `size` counts its data; `target` is a link's."""

    name: str
    kind: bytes
    size: int = 0
    mode: int = 0
    mtime: int = 0
    target: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.kind == tarfile.REGTYPE

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == tarfile.DIRTYPE

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self.kind == tarfile.SYMTYPE

    @property
    def is_hard_link(self) -> bool:
        """Whether it is a further name of an earlier member."""
        return self.kind == tarfile.LNKTYPE

    def open(self) -> None:
        """Lets everybody write to a file or directory: as git sets modes with umask 0, it keeps the executable bit."""
        if self.is_file or self.is_directory:
            self.mode = OPEN_DIRECTORY if self.is_directory or self.mode & 0o100 else OPEN_FILE

    def encoded(self, owner: Owner = ROOT) -> bytes:
        """Its header, with an extension if a field does not fit."""
        name = self.name.encode("utf-8", "surrogateescape")
        if self.kind == tarfile.DIRTYPE:
            name += b"/"
        target = self.target.encode("utf-8", "surrogateescape")
        size, mtime = self.size, self.mtime
        extra = b""
        if len(name) > LONGEST_NAME:
            extra, name = _record(b"path", name), name[:LONGEST_NAME]
        if len(target) > LONGEST_NAME:
            extra, target = extra + _record(b"linkpath", target), target[:LONGEST_NAME]
        if size >= MOST_SIZE:
            extra, size = extra + _record(b"size", b"%d" % size), 0
        if not 0 <= mtime < MOST_TIME:
            extra, mtime = extra + _record(b"mtime", b"%d" % mtime), 0
        uid, gid = owner
        if max(owner) >= MOST_ID:
            extra += _record(b"uid", b"%d" % uid) + _record(b"gid", b"%d" % gid)
            uid = gid = 0
        header = _header(name, self.mode & 0o7777, uid, gid, size, mtime, self.kind, target)
        if not extra:
            return header
        extension = _header(b"././@PaxHeader", 0, 0, 0, len(extra), 0, tarfile.XHDTYPE, b"")
        return extension + extra + padding(len(extra)) + header


def _header(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, target: bytes) -> bytes:
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
    checksum = sum(name) + sum(numbers) + kind[0] + sum(target) + REST_SUM  # zeros need no adding
    filled = name.ljust(LONGEST_NAME, b"\0"), numbers, checksum, kind, target.ljust(LONGEST_NAME, b"\0"), ENDING
    return b"%b%b%06o\0 %b%b%b" % filled


def _record(key: bytes, value: bytes) -> bytes:
    """A field of an extension; it begins with its own length."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d%b" % (length, rest)


def padding(size: int) -> bytes:
    """The zeros that fill a member's last block."""
    return bytes(-size % BLOCK)


class Readable(Protocol):
    """The part of a file that is needed here."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer than `size` only at the end."""


def batched(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, small ones together."""
    batch: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if len(piece) >= SEND_BYTES:
            if batch:
                yield b"".join(batch)
            yield piece
            batch.clear()
            size = 0
            continue
        batch.append(piece)
        if size >= SEND_BYTES:
            yield b"".join(batch)
            batch.clear()
            size = 0
    yield b"".join(batch)


class Pieces:
    """Reads from pieces as from a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes, `size` unless the pieces end."""
        if self._at + size <= len(self._piece):
            self._at += size
            return self._piece[self._at - size : self._at]
        parts: list[bytes] = []
        while size:
            if self._at == len(self._piece):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece, self._at = piece, 0
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)


class TarReader:
    """The members of a tar, in order; `source` names it in messages. Reading raises BadArchive, OSError.

    A member's data or blocks are read at most once, before the next member.
    """

    def __init__(self, stream: Readable, source: str) -> None:
        self._stream = stream
        self._source = source
        self._left = 0  # unread bytes of the current member, with padding
        self._size = 0  # bytes of its data

    def __iter__(self) -> Iterator[Member]:
        try:
            while member := self._next():
                yield member
        except (*DAMAGE, ValueError) as error:
            raise BadArchive(f"{self._source}: {error}") from error

    def _next(self) -> Member | None:
        if self._left:
            for _ in self._pieces(self._left):
                pass
        told: dict[str, str] = {}  # fields too large for the header
        while True:
            header = self._stream.read(BLOCK)
            if header == END:
                self._read_out()
                return None
            if len(header) < BLOCK:
                raise self._truncated()
            if header[257:262] != b"ustar":
                raise BadArchive(f"{self._source} is not an archive of files")
            kind = header[156:157]
            if kind not in EXTENSIONS:
                return self._member(header, kind, told)
            told |= self._extension(header, kind)

    def _member(self, header: bytes, kind: bytes, told: dict[str, str]) -> Member:
        name = told.get("path") or _name(header)
        if kind == tarfile.AREGTYPE:
            kind = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
        size = 0
        if kind not in WITHOUT_DATA:
            size = int(told["size"]) if "size" in told else _number(header[124:136])
            if size < 0:
                raise ValueError("a negative size")
        self._size = size
        self._left = size + -size % BLOCK
        return Member(
            name,
            kind,
            size,
            _number(header[100:108]) & 0o7777,
            int(told["mtime"].partition(".")[0]) if "mtime" in told else _number(header[136:148]),
            told.get("linkpath") or _text(header[157:257]),
        )

    def _extension(self, header: bytes, kind: bytes) -> dict[str, str]:
        size = _number(header[124:136])
        if not 0 <= size <= LONGEST_EXTENSION:
            raise BadArchive(f"{self._source} has a name of {size} bytes")
        data = self._stream.read(size + -size % BLOCK)
        if len(data) < size:
            raise self._truncated()
        return _told(kind, data[:size])

    def data(self) -> Iterator[bytes]:
        """The current member's data, in pieces."""
        return self._pieces(self._size)

    def blocks(self) -> Iterator[bytes]:
        """The same with the padding of its last block."""
        return self._pieces(self._left)

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            try:
                piece = self._stream.read(min(size, COPY_BYTES))
            except DAMAGE as error:
                raise BadArchive(f"{self._source}: {error}") from error
            if not piece:
                raise self._truncated()
            size -= len(piece)
            self._left -= len(piece)
            yield piece

    def _read_out(self) -> None:
        """Reads past the end: only there a compressed file's checksum is verified."""
        while self._stream.read(COPY_BYTES):
            pass

    def _truncated(self) -> BadArchive:
        return BadArchive(f"{self._source} is truncated")


def _number(field: bytes) -> int:
    """A number field: octal text, or binary where its first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _told(kind: bytes, data: bytes) -> dict[str, str]:
    """The next member's fields from an extension. Raises ValueError."""
    if kind != tarfile.XHDTYPE:
        return {"path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath": _text(data)}
    told: dict[str, str] = {}
    while data:
        length = int(data[: data.index(b" ")])
        key, equals, value = data[:length].partition(b" ")[2].partition(b"=")
        if not equals or not value.endswith(b"\n") or length < 1:
            raise ValueError("a damaged pax header")
        if key.startswith(b"GNU.sparse"):
            raise ValueError("a sparse file")
        told[_text(key)] = _text(value[:-1])
        data = data[length:]
    return told


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")
