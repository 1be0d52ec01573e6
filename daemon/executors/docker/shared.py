"""Resources shared by all sandboxes of one Docker engine, and this host's notes about each container."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from daemon.executors.base import Slot
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.files.cache_store import CacheStore
from daemon.executors.docker.files.inline_workspace import InlineWorkspaces
from daemon.executors.docker.images import Images
from daemon.executors.docker.layers.overlays import Overlays
from daemon.executors.docker.layers.store import LayerStore
from daemon.executors.docker.layers.users import ImageUsers
from daemon.executors.docker.networks.pool import NetworkPool
from daemon.executors.docker.removal_guard import RemovalGuard
from daemon.executors.docker.sweeper import Sweeper
from daemon.executors.policy import Policy
from protocol.clock import monotonic_of, reading


class SharedResources(msgspec.Struct, frozen=True):
    """An executor's resources for all its sandboxes. `directory` keeps state that outlives a daemon, by container."""

    engine: DockerClient
    images: Images
    unpackers: InlineWorkspaces
    removals: RemovalGuard
    networks: NetworkPool
    sweeper: Sweeper
    caches: CacheStore
    overlays: Overlays
    layers: LayerStore
    users: ImageUsers
    directory: Path
    worker: str
    labels: Sequence[str]
    after_script_timeout: float
    max_log_bytes: int
    policy: Policy

    def listing(self, container: str) -> Path:
        """Path of the list of the files in a container's workspace."""
        return self.directory / f"{container}.names"

    def directories(self, container: str) -> Path:
        """Path of the list of directories unpacked into a container of a user other than root."""
        return self.directory / f"{container}.directories"

    def links(self, container: str) -> Path:
        """Path of the list of symbolic links in the caches below a container's project directory."""
        return self.directory / f"{container}.links"

    def release_note(self, container: str) -> Path:
        """Path of the note of a container's release: the time (`protocol.clock`), and a line with its slot."""
        return self.directory / f"{container}.released"

    def forget(self, container: str) -> None:
        """Removes the notes about a container."""
        for path in (
            self.listing(container),
            self.directories(container),
            self.links(container),
            self.release_note(container),
        ):
            with suppress(OSError):  # absent, or not our file
                path.unlink()

    def released_at(self, container: str) -> float | None:
        """A container's release time (monotonic), if noted since this machine's boot."""
        with suppress(OSError, ValueError):  # no note, or a damaged one
            return monotonic_of(self.release_note(container).read_text().partition("\n")[0])
        return None

    def note_release(self, container: str, slot: Slot) -> None:
        """Notes a release for a later daemon, which otherwise has only the engine's clock, and no slot."""
        with suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
            self.release_note(container).write_text(f"{reading()}\n{slot.number} {slot.of_project}\n")

    def slot(self, container: str) -> Slot | None:
        """The slot of a released container, if noted."""
        with suppress(OSError, ValueError):  # no note, or a damaged one
            _, line = self.release_note(container).read_text().splitlines()
            number, of_project = map(int, line.split())
            return Slot(number, of_project)
        return None
