"""Runs jobs in containers of one Docker engine, and finds and removes what it has made there by its labels.

Everything made here carries labels that say whose it is; nothing else is ever touched.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon import container_log
from daemon.cache import CacheStore
from daemon.docker_sandbox import DockerSandbox
from daemon.engine import Engine
from daemon.executor import Dependencies, Found, Outcome, Sandbox
from daemon.images import Images
from daemon.network_holder import ROLE as NETWORK_ROLE
from daemon.networks import NETWORK_LABEL, Networks
from daemon.policy import Policy
from daemon.removals import Removals
from daemon.self_unpacking import Unpackers
from daemon.site import Site
from protocol.clock import monotonic_of
from protocol.messages import Assignment

LOG_BYTES = 4 << 30
"""Past this size a log is rotated, and what its reader has not read by then may be lost: the guard of the disk."""
LEASE_LABEL = "longshore.lease"
SHORT_ID = 12
"""How many characters of a coordinator's id are in names."""


def default_directory() -> Path:
    """Where caches are kept for the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longshore"


class DockerExecutor:
    """See `daemon.executor.Executor`. Thread-safe.

    `coordinator` keeps apart what workers of several coordinators have on one engine: their attempts may have the same
    ids. `directory` is for caches, `cache_limit` their bytes, `keep_caches` how many seconds they stay unused;
    `patience` is seconds to wait for an engine that is away, `networks` how many networks jobs may use one after the
    other; with 0 each has its own.
    """

    def __init__(
        self,
        worker: str,
        url: str | None = None,
        *,
        coordinator: str = "",
        directory: Path | None = None,
        cache_limit: int = 10 << 30,
        keep_caches: float | None = None,
        after_script_timeout: float = 300.0,
        patience: float = 120.0,
        max_log_bytes: int = LOG_BYTES,
        networks: int = 0,
        policy: Policy = Policy(),  # noqa: B008  # it can't be changed
    ) -> None:
        self._engine = Engine(url, patience=patience)
        self._facts: str | None = None
        self._coordinator = coordinator
        self._mine = {"longshore.coordinator": coordinator, "longshore.worker": worker}
        directory = directory or default_directory()
        prefix = self._name("network")
        self._site = Site(
            engine=self._engine,
            images=Images(self._engine, policy),
            unpackers=Unpackers(self._engine, directory),
            removals=Removals(),
            networks=Networks(self._engine, self._mine, prefix, networks, policy),
            caches=CacheStore(directory / "caches", cache_limit, keep_caches),
            directory=directory / "attempts",
            worker=worker,
            after_script_timeout=after_script_timeout,
            max_log_bytes=max_log_bytes,
            policy=policy,
        )

    def facts(self) -> str:
        """See Executor. The engine is asked once: on a busy host it takes 60 ms to count itself."""
        if self._facts is None:
            info = self._engine.call("GET", "/info", patience=0)
            memory = info["MemTotal"] / (1 << 30)
            self._facts = (
                f"Docker {info['ServerVersion']}, {info['OperatingSystem']}, "
                f"{info['Architecture']}, {info['NCPU']} CPUs, {memory:.1f} GiB"
            )
        return self._facts

    def _name(self, what: str) -> str:
        return "-".join(filter(None, ["longshore", self._coordinator[:SHORT_ID], what]))

    def sandbox(self, assignment: Assignment) -> Sandbox:
        """See Executor."""
        name = self._name(assignment.attempt)
        labels = {
            **self._mine,
            "longshore.run": str(assignment.run),
            "longshore.job": assignment.job.name,
            "longshore.attempt": assignment.attempt,
        }
        if assignment.lease is not None:
            labels[LEASE_LABEL] = str(assignment.lease)
        return DockerSandbox(self._site, assignment, name, labels)

    def execute(self, sandbox: Sandbox, dependencies: Dependencies | None, opened: Callable[[], None]) -> Outcome:
        """See Executor."""
        if dependencies is not None:
            sandbox.release(dependencies)
        opened()
        return sandbox.wait()

    def find(self) -> list[Found]:
        """See Executor."""
        found = []
        for container in self._containers({**self._mine, "longshore.role": "job"}):
            attempt, state = container["Labels"]["longshore.attempt"], container["State"]
            lease = float(container["Labels"].get(LEASE_LABEL, 0)) or None
            released = container_log.released_at(self._engine, container["Id"])
            if released is None:
                found.append(Found(attempt, "held" if state == "running" else "created", lease=lease))
            else:
                since = self._released_mono(_name_of(container), released)
                found.append(Found(attempt, "running" if state == "running" else "exited", since, lease))
        return found

    def _released_mono(self, name: str, released: datetime) -> float:
        """As its daemon has noted it, which no jump of a clock changes; without a note, by the engine's wall clock."""
        noted = self._site.release_note(name)
        at = monotonic_of(noted.read_text()) if noted.exists() else None
        return time.monotonic() - max(0.0, (datetime.now(UTC) - released).total_seconds()) if at is None else at

    def discard(self, attempt: str) -> None:
        """See Executor."""
        self._remove(lambda labels: labels["longshore.attempt"] == attempt)

    def sweep(self, keep: set[str]) -> int:
        """See Executor."""
        self._site.caches.trim()
        return self._remove(lambda labels: labels["longshore.attempt"] not in keep)

    def _remove(self, chosen: Callable[[Mapping[str, str]], bool]) -> int:
        """Removes containers first: a network can't go while one is in it."""
        count = 0
        there = self._containers(self._mine)
        holders = {_name_of(one) for one in there if one["Labels"].get("longshore.role") == NETWORK_ROLE}
        used = set()
        for container in there:
            name, labels = _name_of(container), container["Labels"]
            if name in holders:
                continue
            removed = self._remove_one(f"/containers/{container['Id']}", labels, chosen)
            count += removed
            if removed:
                self._site.forget(name)
            if holder := labels.get(NETWORK_LABEL):
                if removed:
                    self._site.networks.free(holder, name)
                else:
                    used.add(holder)
        for holder in self._site.networks.left_behind(holders, used):
            count += self._engine.delete(f"/containers/{holder}")
        for network in self._engine.call("GET", "/networks", query=_by_labels(self._mine)):
            count += self._remove_one(f"/networks/{network['Id']}", network["Labels"], chosen)
        return count

    def _remove_one(self, path: str, labels: Mapping[str, str], chosen: Callable[[Mapping[str, str]], bool]) -> bool:
        """Whether it was chosen, and was there. Its attempt may have been assigned again since it was listed."""
        with self._site.removals.of(labels["longshore.attempt"], lambda: chosen(labels)) as may:
            return may and self._engine.delete(path)

    def close(self) -> None:
        """See Executor."""
        self._site.networks.close()

    def _containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        containers: list[dict[str, Any]] = self._engine.call(
            "GET", "/containers/json", query={"all": 1, **_by_labels(labels)}
        )
        return containers


def _name_of(container: Mapping[str, Any]) -> str:
    return str(container["Names"][0]).removeprefix("/")


def _by_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {"filters": json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})}
