"""What an archive may have in it before anything of it is unpacked. Pure: knows names, kinds and sizes.

Archives come from other workers by way of the coordinator, so they may be anybody's work. A symbolic link may lead
wherever it likes (a virtual environment's do), but nothing is unpacked through one.
"""

from __future__ import annotations

import posixpath

MOST_MEMBERS = 1_000_000
MOST_BYTES = 64 << 30
"""Of all members together, unpacked: a small file that grows without end is not let fill a disk."""


class BadMember(Exception):
    """A member that is not unpacked; the message says which and why."""


class Guard:
    """Looks at the members of archives that are unpacked into one place, in order."""

    def __init__(self) -> None:
        self._links: set[str] = set()
        self._members = 0
        self._bytes = 0

    def file(self, name: str, size: int) -> None:
        """A regular file or directory. Raises BadMember."""
        self._count(size)
        self._links.discard(self._checked(name))

    def symlink(self, name: str) -> None:
        """A symbolic link. Raises BadMember."""
        self._count(0)
        self._links.add(self._checked(name))

    def hard_link(self, name: str, target: str) -> None:
        """Another name for a member. Raises BadMember."""
        self._count(0)
        if self._checked(target) in self._links:
            raise BadMember(f"{name[:200]!r} is a link to a symbolic link")
        self._checked(name)

    def _count(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > MOST_MEMBERS:
            raise BadMember(f"there are more than {MOST_MEMBERS} members")
        if size < 0 or self._bytes > MOST_BYTES:
            raise BadMember(f"unpacked it has more than {MOST_BYTES >> 30} GiB")

    def _checked(self, name: str) -> str:
        """The name in its plain form, if it is inside of the place and not beyond a link."""
        path = posixpath.normpath(name)
        if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
            raise BadMember(f"{name[:200]!r} is outside of the directory")
        if self._links:
            above = posixpath.dirname(path)
            while above:
                if above in self._links:
                    raise BadMember(f"{name[:200]!r} is beyond the symbolic link {above[:200]!r}")
                above = posixpath.dirname(above)
        return path
