"""What an archive may have in it before anything of it is unpacked. Pure: knows names, kinds and sizes.

Archives come from other workers by way of the coordinator, so they may be anybody's work. A symbolic link may lead
wherever it likes (a virtual environment's do), but nothing is unpacked through one that an archive brought: within one
archive that is refused; between two of them the later one wins, and a directory takes the place of the link.

The engine sets the times of directories last, by their names. So the reverse, something else in the place of an earlier
archive's directory, can't be unpacked together with that one.
"""

from __future__ import annotations

import posixpath

MOST_MEMBERS = 1_000_000
MOST_BYTES = 64 << 30
"""Of all members together, unpacked: a small file that grows without end is not let fill a disk."""


class BadMember(Exception):
    """A member that is not unpacked; the message says which and why."""


class Clash(Exception):
    """A member takes the place of a directory of an earlier archive: that one is to be unpacked before, by itself."""


class Guard:
    """Looks at the members of archives that are unpacked into one place, in order.

    Each look returns the directories to make before the member, where an earlier archive has left a symbolic link.
    """

    def __init__(self) -> None:
        self._links: set[str] = set()
        self._directories: set[str] = set()
        self._earlier_links: set[str] = set()
        self._earlier_directories: set[str] = set()
        self._members = 0
        self._bytes = 0

    def next_archive(self, *, together: bool) -> None:
        """The members that follow are another archive's; `together`: one that is unpacked together with the last."""
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
        """Another name for a member. Raises BadMember, Clash."""
        self._count(0)
        other, above_other = self._checked(target)
        if other in self._links or other in self._earlier_links:
            raise BadMember(f"{name[:200]!r} is a link to a symbolic link")
        path, replaced = self._checked(name)
        self._replace(path)
        self._links.discard(path)
        return above_other + replaced

    def made(self, path: str) -> None:
        """A directory is made, though no archive has it."""
        while path and path not in self._directories:
            self._directories.add(path)
            path = posixpath.dirname(path)

    def _replace(self, path: str) -> None:
        """Something that is no directory takes the place of whatever an earlier archive has there."""
        if path in self._directories:
            raise BadMember(f"{path[:200]!r} is a directory and something else")
        if path in self._earlier_directories:
            raise Clash
        self._earlier_links.discard(path)

    def _count(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > MOST_MEMBERS:
            raise BadMember(f"there are more than {MOST_MEMBERS} members")
        if size < 0 or self._bytes > MOST_BYTES:
            raise BadMember(f"unpacked it has more than {MOST_BYTES >> 30} GiB")

    def _checked(self, name: str) -> tuple[str, list[str]]:
        """The name in its plain form, if it is inside of the place and not beyond a link of its own archive.

        With it, the links of earlier archives that it would be beyond: they are forgotten.
        """
        path = posixpath.normpath(name)
        if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
            raise BadMember(f"{name[:200]!r} is outside of the directory")
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
