"""Quotas in bytes of blobs: per project, and per key for blobs that no run refers to yet. Knows no files, no socket.

A blob has no project until a run refers to it; until then it is charged to the key that uploaded it. A blob that no run
ever refers to is removed an hour later. Each pass of the housekeeper measures the projects' usage anew; blobs referred
to since are added here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from coordinator.security.limits import Limits
from protocol.errors import ProtocolError

LEAST = 1 << 20
"""Minimum charge in bytes for an unreferenced blob, which also bounds the number of tiny ones."""
FORGOTTEN_AFTER = 86_400.0
"""Seconds after which a partial upload has been removed."""


class Counted(NamedTuple):
    """Result of a housekeeper's pass: bytes by project, of all blobs referred to before it `began`.

    `digests` are the counted blobs, which Quota.count clears: there may be a million.
    """

    began: float
    by_project: Mapping[str, int]
    digests: set[str]


class Quota:
    """The usage of keys and projects of one coordinator. Times are monotonic."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._unnamed: defaultdict[bytes, dict[str, tuple[int, float]]] = defaultdict(dict)
        self._keys: defaultdict[str, set[bytes]] = defaultdict(set)  # by digest: the uploading keys
        self._total: defaultdict[bytes, int] = defaultdict(int)
        self._counted = Counted(0.0, {}, set())
        self._since: defaultdict[str, dict[str, tuple[int, float]]] = defaultdict(dict)  # by project, then digest
        self._not_written: list[tuple[str, str]] = []  # the newest of them, by project and digest

    def put(self, key: bytes, digest: str, size: int, now: float) -> None:
        """Charges an upload of a missing blob to its key. Raises ProtocolError if that exceeds the limit."""
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
                    f"{self._total[key]} bytes of your uploads are not used by a run yet; the limit unnamed_bytes is "
                    f"{most}: unused uploads are removed after an hour or two",
                )
        account[digest] = charged, now
        self._total[key] += charged
        self._keys[digest].add(key)

    def forget(self, digest: str) -> None:
        """Ends the charges for a blob that a run refers to now, or that was removed."""
        for key in self._keys.pop(digest, ()):
            self._total[key] -= self._unnamed[key].pop(digest)[0]
            if not self._unnamed[key]:
                del self._unnamed[key], self._total[key]

    def name(self, project: str, digest: str, size: int) -> None:
        """Charges a blob to the project whose run refers to it, which is not in the database until `written`.

        An earlier run refers to a blob that no key is charged for: its project has it already.
        """
        if digest not in self._keys:
            return
        self.forget(digest)
        self._since[project][digest] = size, math.inf
        self._not_written.append((project, digest))

    def written(self, now: float) -> None:
        """All runs and attempts are in the database: the next pass of the housekeeper sees their blobs."""
        for project, digest in self._not_written:
            if charge := self._since.get(project, {}).get(digest):
                self._since[project][digest] = charge[0], now
        self._not_written.clear()

    def check(self, project: str) -> None:
        """Raises ProtocolError if a project has used up its quota."""
        since = sum(size for size, _ in self._since.get(project, {}).values())
        has = self._counted.by_project.get(project, 0) + since
        if has >= self._limits.project_bytes:
            raise ProtocolError(
                "bad_request",
                f"project {project!r} has {has} bytes of workspaces and artifacts; the limit project_bytes is "
                f"{self._limits.project_bytes}: the coordinator's owner can raise it, or remove old runs (--keep-runs)",
            )

    def count(self, counted: Counted) -> None:
        """Adopts the housekeeper's newest figures, keeping the charges that it has not seen."""
        if counted is self._counted:
            return
        self._counted = counted
        for project, named in list(self._since.items()):
            left = {
                digest: (size, at)
                for digest, (size, at) in named.items()
                if at >= counted.began and digest not in counted.digests
            }
            if left:
                self._since[project] = left
            else:
                del self._since[project]
        counted.digests.clear()
