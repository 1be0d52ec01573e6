"""Checks an archive's members before they are unpacked. Pure: knows names, kinds and sizes.

Archives come from other workers through the coordinator, so they are untrusted. A symbolic link may point anywhere (a
virtual environment's do), but nothing is unpacked through a link from an archive: within one archive that is refused;
between two archives the later one wins, and a directory replaces the link.

The engine sets the times of directories last, by their names. The reverse, a non-directory in the place of an earlier
archive's directory, can therefore not be unpacked together with that archive.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

MOST_MEMBERS = 1_000_000
MOST_BYTES = 64 << 30
"""Limit of all members together, unpacked: a small archive of endless data must not fill a disk."""


class BadMember(Exception):
    """A member is refused; the message names it and the reason."""


class Clash(Exception):
    """A member replaces a directory of an earlier archive, which must be unpacked before, by itself."""


class Guard:
    """Checks the members of archives that are unpacked into one place, in order.

    Each check returns the directories to create before the member, where an earlier archive has left a symbolic link.
    `links` are such links of archives that were unpacked otherwise.
    """

    def __init__(self, links: Iterable[str] = ()) -> None:
        self._links: set[str] = set()
        self._directories: set[str] = set()
        self._earlier_links: set[str] = set(links)
        self._earlier_directories: set[str] = set()
        self._members = 0
        self._bytes = 0

    def next_archive(self, *, together: bool) -> None:
        """Begins another archive; `together`: it is unpacked together with the last one."""
        self._earlier_links |= self._links
        self._links = set()
        self._earlier_directories = self._earlier_directories | self._directories if together else set()
        self._directories = set()

    def directory(self, name: str) -> list[str]:
        """A directory. Raises BadMember."""
        self._count(0)
        path, replaced = self._checked(name)
        self._links.discard(path)
        self._earlier_links.discard(path)
        self.made(path)
        return replaced

    def file(self, name: str, size: int) -> list[str]:
        """A regular file. Raises BadMember, Clash."""
        self._count(size)
        path, replaced = self._checked(name)
        self._replace(path)
        self._links.discard(path)
        return replaced

    def symlink(self, name: str) -> list[str]:
        """A symbolic link. Raises BadMember, Clash."""
        self._count(0)
        path, replaced = self._checked(name)
        if path == ".":
            raise BadMember("the directory itself is a symbolic link")
        self._replace(path)
        self._links.add(path)
        return replaced

    def hard_link(self, name: str, target: str) -> list[str]:
        """A hard link to a member. Raises BadMember, Clash."""
        self._count(0)
        other, above_other = self._checked(target)
        if other in self._links or other in self._earlier_links:
            raise BadMember(f"{name[:200]!r} is a link to a symbolic link")
        path, replaced = self._checked(name)
        self._replace(path)
        self._links.discard(path)
        return above_other + replaced

    def made(self, path: str) -> None:
        """A directory is created that is in no archive."""
        while path and path not in self._directories:
            self._directories.add(path)
            path = posixpath.dirname(path)

    def _replace(self, path: str) -> None:
        """A non-directory replaces an earlier archive's member at this path."""
        if path in self._directories:
            raise BadMember(f"{path[:200]!r} is a directory and something else")
        if path in self._earlier_directories:
            raise Clash
        self._earlier_links.discard(path)

    def _count(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > MOST_MEMBERS:
            raise BadMember(f"it has more than {MOST_MEMBERS} members")
        if size < 0 or self._bytes > MOST_BYTES:
            raise BadMember(f"it unpacks to more than {MOST_BYTES >> 30} GiB")

    def _checked(self, name: str) -> tuple[str, list[str]]:
        """The normalised name, if it is inside the place and not beyond a link of its own archive.

        Also returns the links of earlier archives that it would be beyond; they are dropped.
        """
        path = posixpath.normpath(name)
        if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
            raise BadMember(f"{name[:200]!r} is outside the directory")
        replaced: list[str] = []
        if self._links or self._earlier_links:
            above = posixpath.dirname(path)
            while above:
                if above in self._links:
                    raise BadMember(f"{name[:200]!r} is beyond the symbolic link {above[:200]!r}")
                if above in self._earlier_links:
                    self._earlier_links.discard(above)
                    self.made(above)
                    replaced.insert(0, above)
                above = posixpath.dirname(above)
        return path, replaced
