"""Puts a worker together: whose it is, and the executor that runs its jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from daemon.executors.registry import ExecutorOptions, open_executor
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

    Raises EngineUnavailable when no engine answers, UsageError for an executor that there is not.
    """
    options = ExecutorOptions(
        worker=settings.name,
        coordinator=coordinator,
        lock=settings.lock_path,
        directory=settings.state_dir / settings.executor.replace(":", "-"),
        url=settings.docker_url,
        cache_limit=settings.cache_limit,
        keep_caches=settings.keep_caches,
        after_script_timeout=settings.after_script_timeout,
        networks=settings.networks_at_most,
        policy=settings.policy,
    )
    return Worker(settings, open_executor(settings.executor, options))


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
