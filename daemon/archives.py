"""Tar archives that go into containers and come out of them: joined, given to an owner, filtered. Knows no engine.

Everything is streamed. What goes in was made by Longshore (workspace, artifacts, caches: owner 0, no devices); it is
joined header by header without a parse, for a container takes 30 ms for one archive, however small. What comes out is
anything that a job can make; of it only files, directories and links with a name inside of the project are taken.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import posixpath
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from daemon.archive_guard import BadMember, Guard

BLOCK = tarfile.BLOCKSIZE
COPY_BYTES = 1 << 20
SEND_BYTES = 256 << 10
"""Headers and small files are sent together, about so much at a time."""
GZIP_LEVEL = 1
"""Artifacts are written once and read a few times: speed before size."""
GZIP_MAGIC = b"\x1f\x8b"
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
EXTENSIONS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Members that only say more of the next one."""
LONGEST_EXTENSION = 1 << 20


class BadArchive(Exception):
    """A file is no tar archive, or is cut short."""


class Owner(NamedTuple):
    """Numeric user and group that files in a container belong to."""

    uid: int
    gid: int


ROOT = Owner(0, 0)


def joined(paths: Iterable[Path], owner: Owner) -> Iterator[bytes]:
    """One tar, in pieces, of the members of several (plain or gzipped), in order, all given to `owner`.

    Raises BadArchive, OSError.
    """
    batch: list[bytes] = []
    size = 0
    for piece in _joined(paths, owner):
        batch.append(piece)
        size += len(piece)
        if size >= SEND_BYTES:
            yield b"".join(batch)
            batch.clear()
            size = 0
    yield b"".join(batch)


def _joined(paths: Iterable[Path], owner: Owner) -> Iterator[bytes]:
    made: set[str] = set()
    guard = Guard()
    for path in paths:
        with open_tar(path) as stream:
            if owner == ROOT:
                yield from _as_they_are(stream, path, guard)
            else:
                yield from _given(stream, owner, path, made, guard)
    yield bytes(2 * BLOCK)


def _given(stream: BinaryIO, owner: Owner, path: Path, made: set[str], guard: Guard) -> Iterator[bytes]:
    """The members of one tar, and the directories that they are in, which the engine would make for root.

    `made` are directories that earlier archives have.
    """
    with _reading(stream, path) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            _look_at(guard, path, member.type, member.name, member.linkname, member.size)
            for above in _above(name):
                if above not in made:
                    made.add(above)
                    yield _directory(above, owner).tobuf(tarfile.PAX_FORMAT)
            if member.isdir():
                made.add(name)
            info = _plain(member, name)
            info.uid, info.gid = owner
            yield info.tobuf(tarfile.PAX_FORMAT)
            if file := tar.extractfile(member) if member.isreg() else None:
                while data := file.read(COPY_BYTES):
                    yield data
                yield bytes(-member.size % BLOCK)


def _above(name: str) -> Iterator[str]:
    """The directories that a name is in, outermost first."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def _directory(name: str, owner: Owner, mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner.uid, owner.gid
    return info


def groundwork(directory: str, files: Mapping[str, str], owner: Owner) -> Iterator[bytes]:
    """A tar, to be unpacked at the root, of a directory and of text files by absolute path, all of them `owner`'s.

    Only the owner can get at the files.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_directory(directory.lstrip("/"), owner))
        for parent in sorted({posixpath.dirname(path) for path in files}):
            tar.addfile(_directory(parent.lstrip("/"), owner, 0o700))
        for path, content in files.items():
            data = content.encode()
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode, info.uid, info.gid = len(data), 0o600, owner.uid, owner.gid
            tar.addfile(info, io.BytesIO(data))
    yield out.getvalue()


@contextmanager
def open_tar(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a tar that may be gzipped."""
    with path.open("rb") as file:
        magic = file.read(len(GZIP_MAGIC))
        file.seek(0)
        if magic == GZIP_MAGIC:
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile reads bytes, though it is not declared a BinaryIO
        else:
            yield file


def names(path: Path) -> frozenset[str]:
    """The names of all members of a tar, without a leading `./`. Raises BadArchive, OSError."""
    with open_tar(path) as stream, _reading(stream, path) as tar:
        return frozenset(posixpath.normpath(member.name) for member in tar)


def hash_files(path: Path, wanted: Collection[str]) -> dict[str, str]:
    """The sha256 of those files of a tar that are `wanted`. Raises BadArchive, OSError."""
    hashes: dict[str, str] = {}
    with open_tar(path) as stream, _reading(stream, path) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            if name in wanted and (file := tar.extractfile(member)):
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return hashes


def _look_at(guard: Guard, path: Path, kind: bytes, name: str, target: str, size: int) -> None:
    """Shows a member to the guard. Raises BadArchive."""
    try:
        if kind in FILES:
            guard.file(name, size)
        elif kind == tarfile.SYMTYPE:
            guard.symlink(name)
        elif kind == tarfile.LNKTYPE:
            guard.hard_link(name, target)
        else:
            raise BadMember(f"{name[:200]!r} is neither a file nor a directory nor a link")
    except BadMember as error:
        raise BadArchive(f"{path.name} is not unpacked: {error}") from error


def _as_they_are(stream: BinaryIO, path: Path, guard: Guard) -> Iterator[bytes]:
    """The members of one tar, without the blocks that end it."""
    told: dict[str, str] = {}  # of the next member: what its header has no room for
    try:
        while (header := stream.read(BLOCK)) and header != bytes(BLOCK):
            kind = header[156:157]
            if header[257:262] != b"ustar":
                raise BadArchive(f"{path} is no archive of files")
            extends = kind in EXTENSIONS
            size = int(told["size"]) if "size" in told and not extends else _number(header[124:136])
            if not extends:
                name, target = told.get("path") or _name(header), told.get("linkpath") or _text(header[157:257])
                _look_at(guard, path, kind, name, target, size)
                told = {}
                size = size if kind in FILES else 0
            elif size > LONGEST_EXTENSION:
                raise BadArchive(f"{path} has a name of {size} bytes")
            yield header
            left = -(-size // BLOCK) * BLOCK
            if extends:
                data = stream.read(left)
                left -= len(data)
                told |= _told(kind, data[:size])
                yield data
            while left:
                data = stream.read(min(left, COPY_BYTES))
                if not data:
                    raise BadArchive(f"{path} is cut short")
                left -= len(data)
                yield data
    except (EOFError, gzip.BadGzipFile, ValueError) as error:
        raise BadArchive(f"{path}: {error}") from error


def _number(field: bytes) -> int:
    """A number field of a tar header: octal text, or binary where its first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _told(kind: bytes, data: bytes) -> dict[str, str]:
    """What a member that extends the next one's header says of it. Raises ValueError."""
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


@contextmanager
def _reading(stream: BinaryIO, path: Path | None = None) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=COPY_BYTES, errorlevel=2) as tar:
            yield tar
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise BadArchive(f"{path}: {error}" if path else str(error)) from error


class Members(Protocol):
    """Where members of an archive go. `names` are those that it has."""

    names: set[str]

    def directory(self, info: tarfile.TarInfo) -> None:
        """A directory that there is, whether it is wanted or not; what is in it follows."""

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """A wanted member, with its data if it is a file."""


class ArchiveWriter:
    """A gzipped tar that depends on its members alone: no owners, no time of its making.

    Directories above a member are written before it, as the source had them, so that what is unpacked has their modes.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=GZIP_LEVEL, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._directories: dict[str, tarfile.TarInfo] = {}
        self.names: set[str] = set()

    def directory(self, info: tarfile.TarInfo) -> None:
        """Remembers a directory, to be written if something in it is."""
        self._directories[info.name] = info

    def add(self, info: tarfile.TarInfo, data: BinaryIO | None) -> None:
        """Writes a member, unless one of its name is there."""
        if info.name in self.names:
            return
        above = posixpath.dirname(info.name)
        if above and above not in self.names and (directory := self._directories.get(above)):
            self.add(directory, None)
        self.names.add(info.name)
        self._tar.addfile(info, data)

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._tar.close()
            self._gzip.close()
        finally:
            self._file.close()


def copy_members(
    stream: BinaryIO, place: Callable[[str], str | None], wanted: Callable[[str, bool], bool], out: Members
) -> list[str]:
    """Copies the members of a tar stream that are `wanted` to `out`.

    `place` gives a member's name in `out` (None: not inside of what is taken); `wanted` is asked with that name and
    whether it is a directory. Gives the names of hard links whose target was not taken: they have no data of their own.
    Raises BadArchive.
    """
    homeless: list[str] = []
    with _reading(stream) as tar:
        for member in tar:
            name = place(posixpath.normpath(member.name))
            if name is None or not name:
                continue
            info = _plain(member, name)
            if member.isdir():
                out.directory(info)
            if member.isdev() or not wanted(name, member.isdir()):
                continue
            if member.islnk():
                target = place(posixpath.normpath(member.linkname))
                if target not in out.names:
                    homeless.append(name)
                    continue
                info.linkname = target
            out.add(info, tar.extractfile(member) if member.isreg() else None)  # type: ignore[arg-type]
    return homeless


def _plain(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    """`member` with nothing but name, type, size, mode, time and link target."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = member.type, member.size, member.linkname
    info.mode, info.mtime = member.mode & 0o7777, int(member.mtime)
    if info.type not in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.type = tarfile.REGTYPE
    return info
