"""Joins and checks tar archives for containers, and sets their owner. Knows no engine.

Everything is streamed. Longshore made the input (workspace, artifacts, caches: owner 0, no devices); it is joined
header by header without a parse, since a container takes 30 ms per archive, however small.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from daemon.executors.common.archive_guard import BadMember, Guard

BLOCK = tarfile.BLOCKSIZE
COPY_BYTES = 1 << 20
SEND_BYTES = 256 << 10
"""Bytes of headers and small files to send together."""
GZIP_MAGIC = b"\x1f\x8b"
FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
EXTENSIONS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Members that only extend the next one's header."""
LONGEST_EXTENSION = 1 << 20
OPEN_DIRECTORY = 0o777


class BadArchive(Exception):
    """A file is no tar archive, or is truncated."""


class Owner(NamedTuple):
    """Numeric user and group for files in a container."""

    uid: int
    gid: int


ROOT = Owner(0, 0)


class Leaving:
    """Symbolic links, by name, with a relative target above the directory that an archive is unpacked into.

    The engine refuses them there. It accepts them at the root, which has nothing above it.
    """

    def __init__(self) -> None:
        self._links: dict[str, tarfile.TarInfo] = {}

    def __bool__(self) -> bool:
        return bool(self._links)

    def clear(self) -> None:
        """Drops all links."""
        self._links.clear()

    def keep(self, name: str, target: str, mtime: int) -> None:
        """Keeps a link; the last one of a name wins."""
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode, info.mtime = tarfile.SYMTYPE, target, 0o777, mtime
        self._links[name] = info

    def replaced(self, name: str) -> None:
        """Drops a link that another member replaces."""
        self._links.pop(name, None)

    def archive(self, directory: str, owner: Owner) -> Iterator[bytes]:
        """A tar of the links, for unpacking at the root, that puts them into `directory`."""
        for name, link in self._links.items():
            info = copy.copy(link)
            info.name = posixpath.join(directory.lstrip("/"), name)
            info.uid, info.gid = owner
            yield _encoded(info)
        yield bytes(2 * BLOCK)


class Place:
    """The directory for successive archives, and its content up to now.

    `directories` are known directories, and links to such; only for an `owner` that is not root.
    `leaving` are links of the last joint archive, to be unpacked after it; if `whole`, they stay in it. If `opened`,
    everybody may write to the unpacked files, as to those that git checks out with umask 0.
    """

    def __init__(
        self, owner: Owner, directories: Iterable[str] = (), *, opened: bool = False, whole: bool = False
    ) -> None:
        self.owner = owner
        self.opened = opened
        self.whole = whole
        self.directories = set(directories)
        self.leaving = Leaving()
        self._guard = Guard()
        self._path = Path()

    def next_archive(self, path: Path, *, together: bool) -> None:
        """Begins the archive at `path`."""
        if not together:
            self.leaving.clear()
        self._guard.next_archive(together=together)
        self._path = path

    def look(self, kind: bytes, name: str, target: str, size: int, mtime: int) -> tuple[list[str], bool]:
        """The directories to create before a member, and whether it goes in; otherwise it is kept apart.

        Raises BadArchive, Clash.
        """
        try:
            if kind == tarfile.DIRTYPE:
                replaced = self._guard.directory(name)
            elif kind in FILES:
                replaced = self._guard.file(name, size)
            elif kind == tarfile.SYMTYPE:
                replaced = self._guard.symlink(name)
            elif kind == tarfile.LNKTYPE:
                replaced = self._guard.hard_link(name, target)
            else:
                raise BadMember(f"{name[:200]!r} is neither a file nor a directory nor a link")
        except BadMember as error:
            raise BadArchive(f"{self._path.name} is not unpacked: {error}") from error
        if kind != tarfile.SYMTYPE and not self.leaving:
            return replaced, True
        path = posixpath.normpath(name)
        for each in (*replaced, path):
            self.leaving.replaced(each)
        apart = not self.whole and kind == tarfile.SYMTYPE and leads_above(path, target)
        if apart:
            self.leaving.keep(path, target, mtime)
        return replaced, not apart

    def unknown_above(self, name: str, kind: bytes) -> list[str]:
        """The parent directories of a member that are not known yet; marks them as known."""
        path = posixpath.normpath(name)
        unknown = [above for above in parents(path) if above not in self.directories]
        self.directories.update(unknown, [path] if kind in (tarfile.DIRTYPE, tarfile.SYMTYPE) else ())
        for above in unknown:
            self.made(above)
        return unknown

    def directory(self, name: str) -> bytes:
        """The member for a directory that is in no archive."""
        return _encoded(_directory(name, self.owner, OPEN_DIRECTORY if self.opened else 0o755))

    def made(self, directory: str) -> None:
        """Registers a directory that is in no archive."""
        self._guard.made(directory)


def joined(paths: Iterable[Path], place: Place) -> Iterator[bytes]:
    """One tar, in pieces, of the members of several (plain or gzipped), in order, for one place and its owner.

    Links out of the place go to `place.leaving` instead. Raises BadArchive, OSError, and Clash if the archives must be
    unpacked one by one.
    """
    batch: list[bytes] = []
    size = 0
    for piece in _joined(paths, place):
        batch.append(piece)
        size += len(piece)
        if size >= SEND_BYTES:
            yield b"".join(batch)
            batch.clear()
            size = 0
    yield b"".join(batch)


def _joined(paths: Iterable[Path], place: Place) -> Iterator[bytes]:
    if place.opened:
        yield place.directory(".")
    for index, path in enumerate(paths):
        place.next_archive(path, together=index > 0)
        with open_tar(path) as stream:
            if place.owner == ROOT:
                yield from _as_they_are(stream, path, place)
            else:
                yield from _given(stream, path, place)
            _read_out(stream, path)
    yield bytes(2 * BLOCK)


def _read_out(stream: BinaryIO, path: Path) -> None:
    """Reads past the last member: only there a gzipped file's checksum is verified. Raises BadArchive."""
    try:
        while stream.read(COPY_BYTES):
            pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadArchive(f"{path}: {error}") from error


def leads_above(name: str, target: str) -> bool:
    """Whether the engine refuses a symbolic link: to it, an absolute target is within the place."""
    path = posixpath.normpath(f"{posixpath.dirname(name)}/{target}".lstrip("/"))
    return path == ".." or path.startswith("../")


def _given(stream: BinaryIO, path: Path, place: Place) -> Iterator[bytes]:
    """The members of one tar, with their parent directories, which the engine would create for root.

    Known directories are omitted: they would replace a link by a directory.
    """
    owner, there = place.owner, place.directories
    with reading(stream, path) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            replaced, goes_in = place.look(member.type, member.name, member.linkname, member.size, int(member.mtime))
            there.difference_update(replaced)
            for above in (*parents(name), *replaced):
                if above not in there:
                    there.add(above)
                    place.made(above)
                    yield place.directory(above)
            if member.isdir() or member.issym():
                there.add(name)
            if not goes_in:
                continue
            info = plain(member, name)
            info.uid, info.gid = owner
            if place.opened:
                info.mode = _open_mode(member.isdir(), member.mode)
            yield _encoded(info)
            if file := tar.extractfile(member) if member.isreg() else None:
                while data := file.read(COPY_BYTES):
                    yield data
                yield bytes(-member.size % BLOCK)


def _encoded(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def parents(name: str) -> Iterator[str]:
    """A name's parent directories, outermost first."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def _directory(name: str, owner: Owner, mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner.uid, owner.gid
    return info


def groundwork(directory: str, files: Mapping[str, str], owner: Owner, *, opened: bool = False) -> Iterator[bytes]:
    """A tar, for unpacking at the root, of a directory and of text files by absolute path, all owned by `owner`.

    An `opened` directory is writable by everybody. The files are accessible to the owner only.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_directory(directory.lstrip("/"), owner, OPEN_DIRECTORY if opened else 0o755))
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
    """The bytes of a tar, gunzipped if necessary."""
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
    with open_tar(path) as stream, reading(stream, path) as tar:
        return frozenset(posixpath.normpath(member.name) for member in tar)


def check(path: Path) -> None:
    """Reads a whole archive as for unpacking. Raises BadArchive, OSError."""
    for _ in joined([path], Place(ROOT)):
        pass


def hash_files(path: Path, wanted: Callable[[str], bool]) -> dict[str, str]:
    """The sha256 of a tar's `wanted` files; for a symbolic link, of target and file together.

    Raises BadArchive, OSError.
    """
    hashes: dict[str, str] = {}
    links: dict[str, str] = {}
    _hash_files(path, wanted, hashes, links)
    files = dict(hashes)
    if links:
        ends = {name: _end(name, links) for name in links}
        missing = set(ends.values()) - hashes.keys()
        _hash_files(path, missing.__contains__, files, {})
        for name, end in ends.items():
            text = f"{links[name]} {files.get(end, '')}"
            hashes[name] = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return hashes


def _hash_files(path: Path, wanted: Callable[[str], bool], hashes: dict[str, str], links: dict[str, str]) -> None:
    with open_tar(path) as stream, reading(stream, path) as tar:
        for member in tar:
            name = posixpath.normpath(member.name)
            if not (member.isreg() or member.issym()) or not wanted(name):
                continue
            if member.issym():
                links[name] = member.linkname
            elif file := tar.extractfile(member):
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _open_mode(is_directory: bool, mode: int) -> int:
    """A mode as git sets it with umask 0: only the executable bit is kept."""
    return OPEN_DIRECTORY if is_directory or mode & 0o111 else 0o666


def _opened(header: bytes) -> bytes:
    """The header of a file or directory with an open mode."""
    mode = _open_mode(header[156:157] == tarfile.DIRTYPE, _number(header[100:108]))
    changed = header[:100] + b"%07o\0" % mode + header[108:148] + b" " * 8 + header[156:]
    return changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]


def _end(name: str, links: Mapping[str, str]) -> str:
    """A symbolic link's final target through other links, unless they form a cycle."""
    seen: set[str] = set()
    while name in links and name not in seen:
        seen.add(name)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), links[name]))
    return name


def _as_they_are(stream: BinaryIO, path: Path, place: Place) -> Iterator[bytes]:
    """The members of one tar, without its end blocks."""
    told: dict[str, str] = {}  # of the next member: fields too large for its header
    head: list[bytes] = []  # of the next member, the part read so far
    try:
        while (header := stream.read(BLOCK)) and header != bytes(BLOCK):
            kind = header[156:157]
            if header[257:262] != b"ustar":
                raise BadArchive(f"{path} is not an archive of files")
            head.append(header)
            if kind in EXTENSIONS:
                size = _number(header[124:136])
                if size > LONGEST_EXTENSION:
                    raise BadArchive(f"{path} has a name of {size} bytes")
                data = stream.read(-(-size // BLOCK) * BLOCK)
                if len(data) < size:
                    raise BadArchive(f"{path} is truncated")
                told |= _told(kind, data[:size])
                head.append(data)
                continue
            size = int(told["size"]) if "size" in told else _number(header[124:136])
            name, target = told.get("path") or _name(header), told.get("linkpath") or _text(header[157:257])
            replaced, goes_in = place.look(kind, name, target, size, _number(header[136:148]))
            for above in (*(place.unknown_above(name, kind) if place.opened else ()), *replaced):
                yield place.directory(above)
            if place.opened and kind in FILES:
                head[-1] = _opened(header)
            if goes_in:
                yield from head
            told = {}
            head = []
            left = -(-size // BLOCK) * BLOCK if kind in FILES else 0
            while left:
                data = stream.read(min(left, COPY_BYTES))
                if not data:
                    raise BadArchive(f"{path} is truncated")
                left -= len(data)
                yield data
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise BadArchive(f"{path}: {error}") from error


def _number(field: bytes) -> int:
    """A number field of a tar header: octal text, or binary where its first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


def _told(kind: bytes, data: bytes) -> dict[str, str]:
    """The next member's fields from an extension member. Raises ValueError."""
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
def reading(stream: BinaryIO, path: Path | None = None) -> Iterator[tarfile.TarFile]:
    """A tar as a stream; `path` is for messages. Raises BadArchive."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=COPY_BYTES, errorlevel=2) as tar:
            yield tar
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadArchive(f"{path}: {error}" if path else str(error)) from error


def plain(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    """`member` reduced to name, type, size, mode, time and link target."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = member.type, member.size, member.linkname
    info.mode, info.mtime = member.mode & 0o7777, int(member.mtime)
    if info.type not in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.type = tarfile.REGTYPE
    return info
