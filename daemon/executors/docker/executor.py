"""Runs jobs in containers of one Docker engine, and finds and removes its objects there by their labels.

All objects carry labels that name their owner; nothing else is ever touched.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.executors.base import Executor, Found, Sandbox
from daemon.executors.docker.api_client import FIRST_DELAY, GOING, LONGEST_DELAY, UP, DockerClient, EngineError
from daemon.executors.docker.belongings import (
    ATTEMPT,
    BOOT,
    COORDINATOR,
    HOLDER_ROLE,
    KEEP,
    LEASE,
    LOCK,
    ROLE,
    WORKER,
    Belongings,
    Thing,
    own_name,
)
from daemon.executors.docker.container import JobContainer
from daemon.executors.docker.files.cache_store import CacheStore
from daemon.executors.docker.files.inline_workspace import InlineWorkspaces
from daemon.executors.docker.images import Images
from daemon.executors.docker.layers.helper import Helpers
from daemon.executors.docker.layers.overlays import Overlays
from daemon.executors.docker.layers.store import LayerStore
from daemon.executors.docker.layers.users import ImageUsers
from daemon.executors.docker.logs import stored
from daemon.executors.docker.networks.pool import NetworkPool
from daemon.executors.docker.removal_guard import RemovalGuard
from daemon.executors.docker.sandbox import DockerSandbox
from daemon.executors.docker.shared import SharedResources
from daemon.executors.docker.sweeper import Sweeper, workers_of
from daemon.executors.policy import Policy
from daemon.executors.registry import ExecutorOptions
from protocol.backoff import Backoff
from protocol.clock import boot
from protocol.errors import EngineUnavailable
from protocol.messages import Assignment
from protocol.views import Capability

LOG_BYTES = 4 << 30
"""Size at which a log is rotated; its unread part may then be lost: protects the disk."""
ABANDONED_SECONDS = 86_400.0
"""Age in seconds of another worker's leftovers before they are removed here."""

logger = logging.getLogger(__name__)


def default_directory() -> Path:
    """The user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longshore"


class DockerExecutor(Executor):
    """See `daemon.executors.base.Executor`. Thread-safe.

    `coordinator` separates the objects of several coordinators' workers on one engine: their attempts may have the same
    ids. `lock` is the file that the worker holds locked for its lifetime. `directory` is for caches, `cache_limit`
    their bytes, and again those of layers, `keep_caches` the seconds that they may stay unused; `patience` is seconds
    to wait for an absent engine, `networks` the size of the pool of networks for successive jobs; with 0 each job has
    its own.
    """

    def __init__(
        self,
        worker: str,
        url: str | None = None,
        *,
        coordinator: str = "",
        lock: Path | None = None,
        directory: Path | None = None,
        cache_limit: int = 10 << 30,
        keep_caches: float | None = None,
        after_script_timeout: float = 300.0,
        patience: float = 120.0,
        max_log_bytes: int = LOG_BYTES,
        networks: int = 0,
        worker_labels: Sequence[str] = (),
        policy: Policy = Policy(),  # noqa: B008  # it can't be changed
    ) -> None:
        self._engine = DockerClient(url, patience=patience)
        self._info: Mapping[str, Any] | None = None
        self._coordinator = coordinator
        self._patience = patience
        self._mine = {COORDINATOR: coordinator, WORKER: worker}
        self._lock_labels = {BOOT: boot(), LOCK: str(lock)} if lock else {}
        self._belongings = Belongings(self._engine, self._mine)
        self._ids: dict[str, str] = {}  # containers found, by attempt
        directory = directory or default_directory()
        removals = RemovalGuard()
        pool = NetworkPool(self._engine, {**self._mine, **self._lock_labels}, self._name(HOLDER_ROLE), networks, policy)
        helpers = Helpers(self._engine, {**self._mine, **self._lock_labels})
        layers = LayerStore(helpers, directory / "layers", cache_limit, keep_caches)
        self._site = SharedResources(
            engine=self._engine,
            images=Images(self._engine, policy),
            unpackers=InlineWorkspaces(self._engine, directory),
            removals=removals,
            networks=pool,
            sweeper=Sweeper(
                self._engine, self._belongings, pool, layers, removals, lambda name: self._site.forget(name)
            ),
            caches=CacheStore(directory / "caches", cache_limit, keep_caches),
            overlays=Overlays(helpers, lambda: self.info, directory / "overlays.json"),
            layers=layers,
            users=ImageUsers(helpers),
            directory=directory / "attempts",
            worker=worker,
            labels=worker_labels,
            after_script_timeout=after_script_timeout,
            max_log_bytes=max_log_bytes,
            policy=policy,
        )

    kind = "docker"
    capabilities = frozenset(Capability)

    @classmethod
    def open(cls, options: ExecutorOptions) -> DockerExecutor:
        """See ExecutorClass."""
        executor = cls(
            options.worker,
            options.url,
            coordinator=options.coordinator,
            lock=options.lock,
            directory=options.directory,
            cache_limit=options.cache_limit,
            keep_caches=options.keep_caches,
            after_script_timeout=options.after_script_timeout,
            networks=options.networks,
            worker_labels=options.labels,
            policy=options.policy,
        )
        executor.facts()
        return executor

    @property
    def info(self) -> Mapping[str, Any]:
        """The engine's facts, asked for once: on a busy host it takes 60 ms to count itself.

        Raises EngineError, EngineUnavailable.
        """
        if self._info is None:
            info = self._engine.call("GET", "/info", patience=0)
            self._info = info if isinstance(info, dict) else {}
        return self._info

    def facts(self) -> str:
        """See Executor. It also says how jobs get their project directories."""
        try:
            shares = self._site.overlays.expected
            return f"{_about(self.info)}; project directories: {'copy-on-write' if shares else 'copied'}"
        except EngineError as error:
            raise EngineUnavailable(f"`docker info` fails: {error.message}") from error

    def _name(self, what: str) -> str:
        return own_name(self._coordinator, what)

    def sandbox(self, assignment: Assignment) -> Sandbox:
        """See Executor."""
        name = self._name(assignment.attempt)
        labels = {
            **self._mine,
            **self._lock_labels,
            "longshore.run": str(assignment.run),
            "longshore.job": assignment.job.name,
            ATTEMPT: assignment.attempt,
        }
        if assignment.lease is not None:
            labels[LEASE] = str(assignment.lease)
        if assignment.keep is not None:
            labels[KEEP] = "1"
        found = self._ids.pop(assignment.attempt, None)
        return DockerSandbox(JobContainer(self._site, assignment, name, labels, found))

    def find(self) -> list[Found]:
        """See Executor. Raises EngineUnavailable if the engine keeps failing to list its containers."""
        found: dict[str, Found] = {}
        for thing in self._listed():
            attempt = thing.attempt
            if attempt is None or (attempt in found and thing.name != self._name(attempt)):
                continue
            one = self._look(thing, attempt)
            if one is not None:
                found[attempt] = one
                self._ids[attempt] = thing.id
        return list(found.values())

    def _listed(self) -> list[Thing]:
        """The job containers. The list is essential, so a failed query is retried."""
        deadline = time.monotonic() + self._patience
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                return list(self._belongings.things(("containers",), f"{ROLE}=job"))
            except EngineError as error:
                if time.monotonic() > deadline:
                    raise EngineUnavailable(f"Docker can't list its containers: {error.message}") from error
                logger.warning("Docker can't list its containers, will retry: %s", error.message)
            time.sleep(backoff.pause())

    def _look(self, thing: Thing, attempt: str) -> Found | None:
        """The state of a container's attempt; None if the container is being removed, as its result is lost.

        An unreadable container counts as begun: an attempt runs at most once.
        """
        up = thing.state in UP
        if thing.state in GOING:
            self._belongings.once.warn(thing, f"is {thing.state}: its attempt is not resumed", logging.INFO)
            return None
        lease = _lease_of(thing.labels)
        if thing.state == "created":
            return Found(attempt, "created", lease=lease)
        try:
            released = stored.released_at(self._engine, thing.id)
        except EngineError as error:
            if error.status in (404, 409):
                self._belongings.once.warn(thing, f"can't be resumed: {error.message}")
                return None
            self._belongings.once.warn(thing, f"has a log that can't be read: {error.message}")
            released = datetime.now(UTC)
        if released is None:
            return Found(attempt, "held" if up else "created", lease=lease)
        slot = self._site.slot(thing.name)
        over = up and bool(thing.labels.get(KEEP)) and self._script_is_over(thing)
        since = self._released_mono(thing.name, released)
        return Found(attempt, "running" if up else "exited", since, lease, slot, over)

    def _script_is_over(self, thing: Thing) -> bool:
        try:
            return stored.script_end(self._engine, thing.id) is not None
        except EngineError as error:
            self._belongings.once.warn(thing, f"has a log that can't be read: {error.message}")
            return False

    def _released_mono(self, name: str, released: datetime) -> float:
        """From its daemon's note, which no clock change affects; without a note, by the engine's wall clock."""
        at = self._site.released_at(name)
        return time.monotonic() - max(0.0, (datetime.now(UTC) - released).total_seconds()) if at is None else at

    def discard(self, attempt: str) -> None:
        """See Executor."""
        self._site.sweeper.discard(attempt)

    def sweep(self, keep: Container[str]) -> int:
        """See Executor."""
        self._site.caches.trim()
        return self._site.sweeper.sweep(keep)

    def strangers(self) -> set[str]:
        """See Executor."""
        before = time.time() - ABANDONED_SECONDS
        return workers_of(self._others().things(), before) - {self._mine[WORKER]} if self._coordinator else set()

    def clear(self, worker: str) -> int:
        """See Executor."""
        return self._site.sweeper.clear(self._others(worker), time.time() - ABANDONED_SECONDS)

    def _others(self, worker: str | None = None) -> Belongings:
        labels = {COORDINATOR: self._coordinator} | ({WORKER: worker} if worker else {})
        return Belongings(self._engine, labels)

    def close(self) -> None:
        """See Executor."""
        self._site.networks.close()


def _about(info: Mapping[str, Any]) -> str:
    """One line about an engine; not all engines with Docker's API report everything."""
    memory = f"{info['MemTotal'] / (1 << 30):.1f} GiB" if info.get("MemTotal") else ""
    cpus = f"{info['NCPU']} CPUs" if info.get("NCPU") else ""
    known = [f"Docker {info.get('ServerVersion', '')}".strip(), info.get("OperatingSystem"), info.get("Architecture")]
    return ", ".join(str(one) for one in [*known, cpus, memory] if one)


def _lease_of(labels: Mapping[str, str]) -> float | None:
    """The lease in a container's label; None if it is missing or invalid."""
    try:
        lease = float(labels.get(LEASE) or 0)
    except ValueError:
        return None
    return lease if 0 < lease < math.inf else None
