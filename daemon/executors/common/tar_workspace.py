"""A workspace in the form of a tar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.executors.base import Workspace
from daemon.executors.common import archives


@dataclass(frozen=True, slots=True)
class TarWorkspace(Workspace):
    """The tar at `path`, plain or gzipped. Methods raise BadArchive, OSError."""

    path: Path

    def names(self) -> frozenset[str]:
        """See Workspace."""
        return archives.names(self.path)

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """See Workspace."""
        return archives.hash_files(self.path, wanted)

    def tar(self) -> Path:
        """See Workspace."""
        return self.path
