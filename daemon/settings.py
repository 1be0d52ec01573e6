"""A worker's settings, with the reasons for their defaults. Reads the host's name and CPU count."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from daemon.executors.policy import PIDS, Policy, make_policy
from protocol.addresses import DEFAULT_COORDINATOR
from protocol.errors import UsageError
from protocol.keys import Credentials
from protocol.names import WORKER_NAME


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One worker daemon's settings. Durations are seconds, sizes are bytes. Raises UsageError for invalid values.

    `state_dir` holds the lock that keeps the name unique on this host and, unless `cache_dir` is given, the blob
    cache; several workers of a host may share both. `docker_url` None: the engine that Docker's own tools would use.
    """

    state_dir: Path
    coordinator: str = DEFAULT_COORDINATOR
    credentials: Credentials | None = None  # None: this user's for the coordinator's address
    name: str = msgspec.field(default_factory=socket.gethostname)
    slots: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    hold_limit: int | None = None  # jobs prepared before they have a slot or their needs; None: as many as slots
    labels: tuple[str, ...] = ()
    run_untagged: bool = True
    executor: str = "docker"  # see `executors.registry`
    docker_url: str | None = None
    grace: float = 10.0  # from SIGTERM to SIGKILL of a script
    after_script_timeout: float = 300.0  # for after_script once the script has ended; GitLab Runner's default
    stop_timeout: float = 3600.0  # a graceful stop's limit for running jobs
    cache_dir: Path | None = None
    cache_limit: int = 10 << 30  # for job caches, again for artifacts and tars, and again for git checkouts
    keep_caches: float | None = None  # lifetime of unused entries; None: until space runs out
    disk_floor: int = 1 << 30  # below this free space the worker accepts no work
    ack_timeout: float = 5.0  # until an unacknowledged status or log byte is resent
    allow: tuple[str, ...] = ()  # privileges of jobs beyond their containers: see `policy`
    allow_images: tuple[str, ...] = ()  # patterns of allowed images; none: any
    pids_limit: int = PIDS
    reuse_networks: bool = True  # let successive jobs without services share networks: see `networks`
    name_wait: float = 0.0  # wait for an earlier worker of the same name that may be leaving
    sweep_interval: float = 600.0  # interval between removals of leftovers without an attempt
    second_sweep: float = 10.0  # from the first of them, at the start, to the second: see `Worker._sweep`

    def __post_init__(self) -> None:
        if not WORKER_NAME.fullmatch(self.name):
            raise UsageError(
                f"bad worker name {self.name!r}: use up to 63 letters, digits, '.', '_', '-', a letter or digit first"
            )
        if self.slots < 1:
            raise UsageError(f"a worker needs at least 1 slot, not {self.slots}")
        if self.hold_limit is not None and self.hold_limit < 0:
            raise UsageError(f"hold_limit must be 0 or more, not {self.hold_limit}")
        _ = self.policy

    @property
    def policy(self) -> Policy:
        """The policy for jobs on this worker."""
        return make_policy(self.name, self.allow, self.allow_images, self.pids_limit)

    @property
    def held_at_most(self) -> int:
        """Limit of jobs prepared ahead at the same time; at least one, so that a waiting job is ready in time."""
        return max(1, self.slots if self.hold_limit is None else self.hold_limit)

    @property
    def networks_at_most(self) -> int:
        """Size of the network pool: networks of running jobs, of jobs prepared ahead, and of jobs being removed."""
        return 2 * self.slots + self.held_at_most if self.reuse_networks else 0

    @property
    def lock_path(self) -> Path:
        """The worker's lock file, held for its lifetime: a second worker of this name can't start on this host."""
        return self.state_dir / "workers" / f"{self.name}.lock"

    @property
    def kept(self) -> Path:
        """The directory of the notes of this worker's kept containers."""
        return self.state_dir / "workers" / f"{self.name}.kept"

    @property
    def blobs(self) -> Path:
        """The directory of the blob cache."""
        return self.cache_dir or self.state_dir / "cache"

    @property
    def checkouts(self) -> Path:
        """The directory of the checkouts' store, on the file system of the blob cache."""
        return self.blobs / "checkouts"
