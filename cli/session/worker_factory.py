"""Puts a worker together: whose it is, and the Docker engine that it runs jobs on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from daemon.executors.docker.executor import DockerExecutor
from daemon.settings import WorkerSettings
from daemon.worker import Worker
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable
from protocol.keys import Credentials

ASK_SECONDS = 2.0
"""How long one try to reach the coordinator lasts."""

logger = logging.getLogger(__name__)


def make_worker(settings: WorkerSettings, coordinator: str) -> Worker:
    """A worker of the coordinator with this id, which keeps apart what several have on one engine.

    Raises EngineUnavailable when no engine answers.
    """
    executor = DockerExecutor(
        settings.name,
        settings.docker_url,
        coordinator=coordinator,
        lock=settings.lock_path,
        directory=settings.state_dir / "docker",
        cache_limit=settings.cache_limit,
        keep_caches=settings.keep_caches,
        after_script_timeout=settings.after_script_timeout,
        networks=settings.networks_at_most,
        policy=settings.policy,
    )
    executor.facts()
    return Worker(settings, executor)


def ask_coordinator_id(address: str, stopped: Callable[[], bool], credentials: Credentials | None = None) -> str | None:
    """The lasting id of the coordinator at `address`, as soon as it answers; None once `stopped`.

    Raises NotLetIn when it does not let us in.
    """
    told = False
    while not stopped():
        with Client(address, timeout=ASK_SECONDS, name="worker", credentials=credentials) as client:
            try:
                return client.welcome.coordinator
            except CoordinatorUnreachable:
                if not told:
                    logger.warning("no coordinator answers at %s; waiting for it", address)
                told = True
    return None
