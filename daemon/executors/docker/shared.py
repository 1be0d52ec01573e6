"""Where sandboxes are: the engine, and the little that this host keeps about each container. Knows no job."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.files.inline_workspace import InlineWorkspaces
from daemon.executors.docker.files.job_cache import CacheStore
from daemon.executors.docker.images import Images
from daemon.executors.docker.networks.pool import NetworkPool
from daemon.executors.docker.removal_guard import RemovalGuard
from daemon.executors.docker.sweeper import Sweeper
from daemon.executors.policy import Policy
from protocol.clock import monotonic_of


@dataclass(frozen=True, slots=True)
class SharedResources:
    """What all sandboxes of an executor share. `directory` keeps what has to outlive a daemon, by container."""

    engine: DockerClient
    images: Images
    unpackers: InlineWorkspaces
    removals: RemovalGuard
    networks: NetworkPool
    sweeper: Sweeper
    caches: CacheStore
    directory: Path
    worker: str
    after_script_timeout: float
    max_log_bytes: int
    policy: Policy

    def listing(self, container: str) -> Path:
        """Where the names of the files are kept that were in a container's workspace."""
        return self.directory / f"{container}.names"

    def directories(self, container: str) -> Path:
        """Where the names of the directories are kept that were laid into a container for another user than root."""
        return self.directory / f"{container}.directories"

    def release_note(self, container: str) -> Path:
        """Where it is kept when a container's gate was opened (`protocol.clock`)."""
        return self.directory / f"{container}.released"

    def forget(self, container: str) -> None:
        """Removes what is kept about a container."""
        for path in (self.listing(container), self.directories(container), self.release_note(container)):
            with suppress(OSError):  # it is no file of ours, or not there
                path.unlink()

    def released_at(self, container: str) -> float | None:
        """When a container's gate was opened (monotonic), if that was noted since this machine's boot."""
        with suppress(OSError, ValueError):  # no note, or a damaged one
            return monotonic_of(self.release_note(container).read_text())
        return None
