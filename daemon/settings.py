"""What an operator may set of a worker, with the reasons for its defaults. Asks the host for its name and CPU count."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from daemon.executors.policy import PIDS, Policy, make_policy
from protocol.addresses import DEFAULT_COORDINATOR
from protocol.errors import UsageError
from protocol.keys import Credentials

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a worker may be called: the name becomes a label of containers and part of file names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How one worker daemon runs. Durations are seconds, sizes are bytes. Raises UsageError for values that can't be.

    `state_dir` holds the lock that keeps the name unique on this host and, unless `cache_dir` is given, the cache of
    blobs; several workers of a host may share both. `docker_url` of None: where Docker's own tools would look.
    """

    state_dir: Path
    coordinator: str = DEFAULT_COORDINATOR
    credentials: Credentials | None = None  # None: what this user has for the coordinator's address
    name: str = field(default_factory=socket.gethostname)
    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    hold_limit: int | None = (
        None  # how many jobs are prepared ahead of a slot or of their needs; None: as many as slots
    )
    labels: tuple[str, ...] = ()
    run_untagged: bool = True
    executor: str = "docker"  # see `executors.registry`
    docker_url: str | None = None
    grace: float = 10.0  # from SIGTERM to SIGKILL of a script
    after_script_timeout: float = 300.0  # for after_script, once the script was stopped; GitLab Runner's default
    stop_timeout: float = 3600.0  # how long a graceful stop waits for running jobs
    cache_dir: Path | None = None
    cache_limit: int = 10 << 30  # of jobs' caches, and as much of workspaces and artifacts
    keep_caches: float | None = None  # how long what nobody uses stays in them; None: until there is no room
    disk_floor: int = 1 << 30  # with less free space than this the worker asks for no more work
    ack_timeout: float = 5.0  # an unacknowledged status or log byte is sent again after so long
    allow: tuple[str, ...] = ()  # what jobs may do beyond their containers: see `policy`
    allow_images: tuple[str, ...] = ()  # patterns of images that jobs may use; none: any
    pids_limit: int = PIDS
    reuse_networks: bool = True  # let jobs without services use networks one after the other: see `networks`
    name_wait: float = 0.0  # how long to wait for the worker before this one of the same name, which may be leaving
    sweep_interval: float = 600.0  # how often leftovers that belong to no attempt are removed

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(
                f"bad worker name {self.name!r}: use at most 63 letters, digits, '.', '_' and '-', not a sign first"
            )
        if self.slots < 1:
            raise UsageError(f"a worker has at least 1 slot, not {self.slots}")
        if self.hold_limit is not None and self.hold_limit < 0:
            raise UsageError(f"hold_limit is 0 or more, not {self.hold_limit}")
        _ = self.policy

    @property
    def policy(self) -> Policy:
        """What jobs may do here."""
        return make_policy(self.name, self.allow, self.allow_images, self.pids_limit)

    @property
    def held_at_most(self) -> int:
        """How many jobs are prepared ahead at the same time; at least one, so that a waiting job is ready in time."""
        return max(1, self.slots if self.hold_limit is None else self.hold_limit)

    @property
    def networks_at_most(self) -> int:
        """How many networks are kept for jobs: for those that run, those ahead, and those that are being removed."""
        return 2 * self.slots + self.held_at_most if self.reuse_networks else 0

    @property
    def lock_path(self) -> Path:
        """The file that this worker holds locked while it lives: no other one of its name can start on this host."""
        return self.state_dir / "workers" / f"{self.name}.lock"

    @property
    def blobs(self) -> Path:
        """Where the blob cache is."""
        return self.cache_dir or self.state_dir / "cache"
