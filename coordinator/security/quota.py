"""How many bytes of blobs each project has, and each key has put that no run names yet. Knows no files, no socket.

A blob belongs to nobody until a run names it, so until then it counts for the key that put it; what is never named is
taken away an hour later. What projects have is counted anew by each pass of the housekeeper; what their runs name until
the next one is added here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from coordinator.security.limits import Limits
from protocol.errors import ProtocolError

LEAST = 1 << 20
"""Bytes that a blob counts for at least while nobody names it: a million empty ones are too much as well."""
FORGOTTEN_AFTER = 86_400.0
"""Seconds after which the half of an upload has been taken away."""


class Counted(NamedTuple):
    """What a pass of the housekeeper has found: bytes of blobs by project, of all that was named before it began."""

    began: float
    by_project: Mapping[str, int]


class Quota:
    """The accounts of one coordinator. Times are monotonic."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._unnamed: defaultdict[bytes, dict[str, tuple[int, float]]] = defaultdict(dict)
        self._keys: defaultdict[str, set[bytes]] = defaultdict(set)  # by digest: who puts it
        self._total: defaultdict[bytes, int] = defaultdict(int)
        self._counted = Counted(0.0, {})
        self._since: defaultdict[str, dict[str, tuple[int, float]]] = defaultdict(dict)  # by project, then digest

    def put(self, key: bytes, digest: str, size: int, now: float) -> None:
        """Somebody begins or goes on to put a blob that is not there yet. Raises ProtocolError if that is too much."""
        account = self._unnamed[key]
        if digest in account:
            return
        charged = max(size, LEAST)
        most = self._limits.unnamed_bytes
        if self._total[key] + charged > most:
            for old in [digest for digest, (_, at) in account.items() if now - at > FORGOTTEN_AFTER]:
                self.forget(old)
            if self._total[key] + charged > most:
                raise ProtocolError(
                    "too_large",
                    f"{self._total[key]} bytes that you have put are named by no run yet; the limit unnamed_bytes is "
                    f"{most}: what no run names goes by itself in an hour or two",
                )
        account[digest] = charged, now
        self._total[key] += charged
        self._keys[digest].add(key)

    def forget(self, digest: str) -> None:
        """A blob is named by a run, or is gone: it counts for nobody's key any more."""
        for key in self._keys.pop(digest, ()):
            self._total[key] -= self._unnamed[key].pop(digest)[0]
            if not self._unnamed[key]:
                del self._unnamed[key], self._total[key]

    def name(self, project: str, digest: str, size: int, now: float) -> None:
        """A run of a project names a blob."""
        self.forget(digest)
        self._since[project][digest] = size, now

    def check(self, project: str) -> None:
        """Whether a project may have more than it has. Raises ProtocolError."""
        since = sum(size for size, _ in self._since.get(project, {}).values())
        has = self._counted.by_project.get(project, 0) + since
        if has >= self._limits.project_bytes:
            raise ProtocolError(
                "bad_request",
                f"project {project!r} has {has} bytes of workspaces and artifacts; the limit project_bytes is "
                f"{self._limits.project_bytes}: the coordinator's owner can raise it, or let old runs go (--keep-runs)",
            )

    def count(self, counted: Counted) -> None:
        """Takes the housekeeper's newest figures over; they lack what was named while it counted."""
        if counted is self._counted:
            return
        self._counted = counted
        for project, named in list(self._since.items()):
            left = {digest: (size, at) for digest, (size, at) in named.items() if at >= counted.began}
            if left:
                self._since[project] = left
            else:
                del self._since[project]
