"""Assembles a worker: its coordinator's identity, and the executor of its jobs."""

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
"""Timeout of one attempt to reach the coordinator."""

logger = logging.getLogger(__name__)


def make_worker(settings: WorkerSettings, coordinator: str) -> Worker:
    """A worker of the coordinator with this id, which separates several coordinators' workers on one engine.

    Raises EngineUnavailable when no engine answers, UsageError for an unknown executor.
    """
    options = ExecutorOptions(
        worker=settings.name,
        labels=settings.labels,
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
    """The permanent id of the coordinator at `address`, once it answers; None once `stopped`.

    Raises NotLetIn if it rejects our credentials.
    """
    warned = False
    while not stopped():
        with Client(address, timeout=ASK_SECONDS, name="worker", credentials=credentials) as client:
            try:
                return client.welcome.coordinator
            except CoordinatorUnreachable:
                if not warned:
                    logger.warning("no coordinator answers at %s; waiting for it", address)
                warned = True
    return None
