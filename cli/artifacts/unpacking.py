"""Unpacks archives of artifacts into a directory. No name leads through a symbolic link, and no file is half there.

An archive is whatever a job made of it, so its members pass the `Guard` (decision 0012), and each is put at its place
by descriptors of directories: a symbolic link where an archive has a directory, from the archive before or the user's
own, is replaced, as by GNU tar. A file is written under another name and renamed.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from daemon.executors.common.archive_guard import BadMember, Clash, Guard
from daemon.tar_stream import BadArchive, Member, TarReader
from protocol.compression import DAMAGE, decompressed
from protocol.errors import LongshoreError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PERMISSIONS = 0o777
"""The mode bits that are restored, less the user's umask: nobody gets a set-user-id file from a job."""

Wanted = Callable[[str], bool]
"""Whether a path of an archive, relative and normalised, is to be taken."""


class Entry(msgspec.Struct, frozen=True):
    """A file: `kind` is file, directory or link in an archive, and otherwise a report's; `size` is in bytes; `target`
    is a link's; a report has no mode.
    """

    path: str
    kind: str
    size: int
    mode: int | None
    target: str = ""


def entries(archive: Path, source: str) -> Iterator[Entry]:
    """What an archive holds; `source` names it in errors. Raises LongshoreError for a damaged or hostile one."""
    sizes: dict[str, Entry] = {}
    with _refusing(source):
        for member, _ in _members(archive, source):
            path = posixpath.normpath(member.name)
            if member.is_directory:
                yield Entry(path, "directory", 0, member.mode & PERMISSIONS)
            elif member.is_symlink:
                yield Entry(path, "link", 0, PERMISSIONS, member.target)
            elif member.is_hard_link:
                same = sizes.get(posixpath.normpath(member.target))
                if same is not None:
                    yield msgspec.structs.replace(same, path=path)
            elif member.is_file:
                sizes[path] = Entry(path, "file", member.size, member.mode & PERMISSIONS)
                yield sizes[path]


def content(archive: Path, source: str, path: str) -> Iterator[bytes]:
    """The bytes of the archive's file at `path`. Raises LongshoreError."""
    names = {path}
    with _refusing(source):
        for member, _ in _members(archive, source):
            if member.is_hard_link and posixpath.normpath(member.name) in names:
                names.add(posixpath.normpath(member.target))
        for member, data in _members(archive, source):
            if member.is_file and posixpath.normpath(member.name) in names:
                yield from data()
                return


def _members(archive: Path, source: str) -> Iterator[tuple[Member, Callable[[], Iterator[bytes]]]]:
    """The checked members with a reader of each one's data."""
    guard = Guard()
    with decompressed(archive) as stream:
        reader = TarReader(stream, source)
        for member in reader:
            _check(guard, member)
            yield member, reader.data


@contextlib.contextmanager
def _refusing(source: str) -> Iterator[None]:
    """Errors of a damaged or hostile archive as a LongshoreError."""
    try:
        yield
    except (BadMember, Clash, BadArchive, *DAMAGE) as error:
        raise LongshoreError(f"the archive of {source} is refused: {error}") from None


def _check(guard: Guard, member: Member) -> None:
    if member.is_directory:
        guard.directory(member.name)
    elif member.is_symlink:
        guard.symlink(member.name)
    elif member.is_hard_link:
        guard.hard_link(member.name, member.target)
    else:
        guard.file(member.name, member.size)


class Unpacker:
    """Lays files into the directory `root`, which exists. Use in a `with` block: directories get their modes and times
    at its end. `count` and `size` are those of the files laid.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0
        self.size = 0
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directories: dict[str, Member] = {}
        self._open: tuple[str, int] | None = None  # the last used directory below the root

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for path in sorted(self._directories, key=lambda path: path.count("/"), reverse=True):
                self._finish_directory(path, self._directories[path])
        finally:
            self._close()
            os.close(self._top)

    def archive(self, archive: Path, source: str, wanted: Wanted = lambda path: True) -> None:
        """Unpacks the wanted files of an archive, over those that are there. Raises LongshoreError, OSError."""
        with _refusing(source):
            self._unpack(archive, source, wanted)

    def _unpack(self, archive: Path, source: str, wanted: Wanted) -> None:
        written: set[str] = set()
        copies: dict[str, list[str]] = {}  # hard links to files that are not wanted themselves
        for member, data in _members(archive, source):
            path = posixpath.normpath(member.name)
            if path == "." or not wanted(path):
                continue
            if member.is_hard_link:
                target = posixpath.normpath(member.target)
                if target in written:
                    self._link(path, target)
                    written.add(path)
                else:
                    copies.setdefault(target, []).append(path)
            elif self._lay(path, member, data):
                written.add(path)
        if copies:
            self._copy(archive, source, copies)

    def file(self, path: str, source: Path) -> None:
        """Lays one file, at a path relative to the root. Raises LongshoreError for a path outside of it, OSError."""
        normal = posixpath.normpath(path)
        if normal.startswith(("/", "../")) or normal in (".", "..") or "\0" in normal:
            raise LongshoreError(f"{path!r} is outside the directory")
        member = Member(normal, tarfile.REGTYPE, mode=0o666, mtime=int(source.stat().st_mtime))
        with source.open("rb") as stream:
            self._write(normal, member, iter(lambda: stream.read(1 << 20), b""))

    def _lay(self, path: str, member: Member, data: Callable[[], Iterator[bytes]]) -> bool:
        """Returns whether it is a file. A device or pipe, which Longshore's archives never have, is left out."""
        if member.is_directory:
            self._parent(path)
            self._directories[path] = member
        elif member.is_symlink:
            self._place(path, lambda name, parent: os.symlink(member.target, name, dir_fd=parent))
        elif member.is_file:
            self._write(path, member, data())
            return True
        return False

    def _copy(self, archive: Path, source: str, copies: dict[str, list[str]]) -> None:
        """A second pass, for the data of hard links whose targets are not wanted."""
        for member, data in _members(archive, source):
            paths = copies.pop(posixpath.normpath(member.name), None) if member.is_file else None
            if paths:
                self._write(paths[0], member, data())
                for path in paths[1:]:
                    self._link(path, paths[0])

    def _write(self, path: str, member: Member, data: Iterable[bytes]) -> None:
        def write(name: str, parent: int) -> None:
            with os.fdopen(os.open(name, NEW_FILE, 0o600, dir_fd=parent), "wb", buffering=0) as file:
                for piece in data:
                    _write_all(file.fileno(), piece)
                    self.size += len(piece)
                os.fchmod(file.fileno(), member.mode & PERMISSIONS & ~self._umask)
                os.utime(file.fileno(), (member.mtime, member.mtime))

        self._place(path, write)
        self.count += 1

    def _link(self, path: str, target: str) -> None:
        """A further name of a file that was laid before."""
        directory, name = posixpath.split(target)
        above = self._walk(directory)

        def link(new: str, parent: int) -> None:
            os.link(name, new, src_dir_fd=above, dst_dir_fd=parent, follow_symlinks=False)

        try:
            self._place(path, link)
        finally:
            os.close(above)
        self.count += 1

    def _place(self, path: str, make: Callable[[str, int], None]) -> None:
        """Makes something under another name, and renames it to its place."""
        above, name = posixpath.split(path)
        parent = self._parent(above)
        partial = f".longshore-{os.getpid()}.part"
        try:
            make(partial, parent)
            os.rename(partial, name, src_dir_fd=parent, dst_dir_fd=parent)
        except IsADirectoryError:
            raise LongshoreError(f"{self.root / path} is a directory here and a file there; remove it first") from None
        finally:
            _remove(partial, parent)

    def _parent(self, path: str) -> int:
        """The descriptor of a directory below the root, made if necessary."""
        if self._open is not None and self._open[0] == path:
            return self._open[1]
        self._close()
        self._open = path, self._walk(path)
        return self._open[1]

    def _walk(self, path: str) -> int:
        """A new descriptor of a directory below the root, made if necessary."""
        here = os.dup(self._top)
        try:
            for part in path.split("/") if path else ():
                below = _descend(here, part)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _finish_directory(self, path: str, member: Member) -> None:
        parent = self._parent(path)
        os.fchmod(parent, member.mode & PERMISSIONS & ~self._umask)
        os.utime(parent, (member.mtime, member.mtime))
        self._close()


def _descend(here: int, part: str) -> int:
    """Opens a directory in another one; makes it if it is missing, or if something else is in its place."""
    try:
        found = os.stat(part, dir_fd=here, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(part, dir_fd=here)
            os.mkdir(part, dir_fd=here)
    except FileNotFoundError:
        os.mkdir(part, dir_fd=here)
    return os.open(part, DIRECTORY, dir_fd=here)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _remove(name: str, parent: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
