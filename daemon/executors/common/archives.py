"""Joins and checks tar archives for containers, and sets their owner. Knows no engine.

Everything is streamed. Longshore made the input: workspace, artifacts, caches. It is joined into one archive, since a
container takes 30 ms per archive, however small.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from daemon.executors.common.archive_guard import BadMember, Guard
from daemon.tar_stream import END, OPEN_DIRECTORY, ROOT, BadArchive, Member, Owner, TarReader, batched, padding
from protocol.compression import decompressed

ENDING = 2 * END


class Leaving:
    """Symbolic links, by name, with a relative target above the directory that an archive is unpacked into.

    The engine refuses them there. It accepts them at the root, which has nothing above it.
    """

    def __init__(self) -> None:
        self._links: dict[str, Member] = {}

    def __bool__(self) -> bool:
        return bool(self._links)

    def clear(self) -> None:
        """Drops all links."""
        self._links.clear()

    def keep(self, link: Member) -> None:
        """Keeps a link; the last one of a name wins."""
        self._links[link.name] = link

    def replaced(self, name: str) -> None:
        """Drops a link that another member replaces."""
        self._links.pop(name, None)

    def archive(self, directory: str, owner: Owner) -> Iterator[bytes]:
        """A tar of the links, for unpacking at the root, that puts them into `directory`."""
        for name, link in self._links.items():
            yield msgspec.structs.replace(link, name=posixpath.join(directory.lstrip("/"), name)).encoded(owner)
        yield ENDING


class Place:
    """The directory for successive archives, and its content up to now.

    `directories` are known directories, and links to such; only for an `owner` that is not root.
    `leaving` are links of the last joint archive, to be unpacked after it; if `whole`, they stay in it. If `opened`,
    everybody may write to the unpacked files, as to those that git checks out with umask 0; if `open_above`, to
    directories that are in no archive. Nothing is unpacked through the `links` of earlier archives.
    """

    def __init__(
        self,
        owner: Owner,
        directories: Iterable[str] = (),
        *,
        opened: bool = False,
        whole: bool = False,
        open_above: bool = False,
        links: Iterable[str] = (),
    ) -> None:
        self.owner = owner
        self.opened = opened
        self.whole = whole
        self.directories = set(directories)
        self.leaving = Leaving()
        self._open_above = opened or open_above
        self._guard = Guard(links)
        self._path = Path()

    def next_archive(self, path: Path, *, together: bool) -> None:
        """Begins the archive at `path`."""
        if not together:
            self.leaving.clear()
        self._guard.next_archive(together=together)
        self._path = path

    def encoded(self, member: Member) -> Iterator[bytes]:
        """The headers for a member, after those of missing directories; none if it goes to `leaving`.

        Raises BadArchive, Clash.
        """
        try:
            replaced = self._look(member)
        except BadMember as error:
            raise BadArchive(f"{self._path.name} is not unpacked: {error}") from error
        member.name = posixpath.normpath(member.name)
        if member.is_hard_link:
            member.target = posixpath.normpath(member.target)
        for above in self._missing(member, replaced):
            yield self.directory(above)
        if not self._keeps_apart(member, replaced):
            if self.opened:
                member.open()
            yield member.encoded(self.owner)

    def _look(self, member: Member) -> list[str]:
        """The links of earlier archives that become directories for a member. Raises BadMember, Clash."""
        if member.is_file:
            return self._guard.file(member.name, member.size)
        if member.is_directory:
            return self._guard.directory(member.name)
        if member.is_symlink:
            return self._guard.symlink(member.name)
        if member.is_hard_link:
            return self._guard.hard_link(member.name, member.target)
        raise BadMember(f"{member.name[:200]!r} is neither a file nor a directory nor a link")

    def _missing(self, member: Member, replaced: list[str]) -> list[str]:
        """The directories to create before a member.

        For root the engine creates them. Known ones are omitted: they would replace a link by a directory.
        """
        if self.owner == ROOT and not self._open_above:
            return replaced
        known, name = self.directories, member.name
        known.difference_update(replaced)
        missing: list[str] = []
        parent = posixpath.dirname(name)
        if replaced or (parent and parent not in known):
            missing = [above for above in dict.fromkeys((*parents(name), *replaced)) if above not in known]
            known.update(missing)
            for above in missing:
                self._guard.made(above)
        if member.is_directory or member.is_symlink:
            known.add(name)
        return missing

    def _keeps_apart(self, member: Member, replaced: list[str]) -> bool:
        if self.whole or (not member.is_symlink and not self.leaving):
            return False
        for each in (*replaced, member.name):
            self.leaving.replaced(each)
        if not self.whole and member.is_symlink and leads_above(member.name, member.target):
            self.leaving.keep(member)
            return True
        return False

    def directory(self, name: str) -> bytes:
        """The header for a directory that is in no archive."""
        mode = OPEN_DIRECTORY if self._open_above else 0o755
        return Member(name, tarfile.DIRTYPE, mode=mode).encoded(self.owner)


def joined(paths: Iterable[Path], place: Place) -> Iterator[bytes]:
    """One tar, in pieces, of the members of several (plain or compressed), in order, for one place and its owner.

    Links out of the place go to `place.leaving` instead. Raises BadArchive, OSError, and Clash if the archives must be
    unpacked one by one.
    """
    return batched(_joined(paths, place))


def _joined(paths: Iterable[Path], place: Place) -> Iterator[bytes]:
    if place.opened:
        yield place.directory(".")
    for index, path in enumerate(paths):
        place.next_archive(path, together=index > 0)
        with members_of(path) as reader:
            for member in reader:
                yield from place.encoded(member)
                if member.size:
                    yield from reader.blocks()
    yield ENDING


def leads_above(name: str, target: str) -> bool:
    """Whether the engine refuses a symbolic link: to it, an absolute target is within the place."""
    path = posixpath.normpath(f"{posixpath.dirname(name)}/{target}".lstrip("/"))
    return path == ".." or path.startswith("../")


def parents(name: str) -> Iterator[str]:
    """A name's parent directories, outermost first."""
    parts = name.split("/")[:-1]
    return ("/".join(parts[: end + 1]) for end in range(len(parts)))


def groundwork(directory: str, files: Mapping[str, str], owner: Owner, *, opened: bool = False) -> Iterator[bytes]:
    """A tar, for unpacking at the root, of a directory and of text files by absolute path, all owned by `owner`.

    An `opened` directory is writable by everybody. The files are accessible to the owner only.
    """
    mode = OPEN_DIRECTORY if opened else 0o755
    made = [(Member(directory.lstrip("/"), tarfile.DIRTYPE, mode=mode), b"")]
    for parent in sorted({posixpath.dirname(path) for path in files}):
        made.append((Member(parent.lstrip("/"), tarfile.DIRTYPE, mode=0o700), b""))
    for path, content in files.items():
        data = content.encode()
        made.append((Member(path.lstrip("/"), tarfile.REGTYPE, len(data), 0o600), data))
    yield b"".join(member.encoded(owner) + data + padding(len(data)) for member, data in made) + ENDING


@contextmanager
def members_of(path: Path) -> Iterator[TarReader]:
    """The members of a tar, plain or compressed."""
    with decompressed(path) as stream:
        yield TarReader(stream, str(path))


def names(path: Path) -> frozenset[str]:
    """The names of all members of a tar, without a leading `./`. Raises BadArchive, OSError."""
    with members_of(path) as reader:
        return frozenset(posixpath.normpath(member.name) for member in reader)


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
    with members_of(path) as reader:
        for member in reader:
            name = posixpath.normpath(member.name)
            if not (member.is_file or member.is_symlink) or not wanted(name):
                continue
            if member.is_symlink:
                links[name] = member.target
            else:
                hasher = hashlib.sha256()
                for piece in reader.data():
                    hasher.update(piece)
                hashes[name] = hasher.hexdigest()


def _end(name: str, links: Mapping[str, str]) -> str:
    """A symbolic link's final target through other links, unless they form a cycle."""
    seen: set[str] = set()
    while name in links and name not in seen:
        seen.add(name)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), links[name]))
    return name
