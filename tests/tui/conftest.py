"""Fixtures of the dashboard's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.coordinator_thread import ScriptedWorker, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A coordinator."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def new_worker(server: Server) -> Iterator[Callable[..., ScriptedWorker]]:
    """Makes workers of the coordinator."""
    workers: list[ScriptedWorker] = []

    def make(**fields: object) -> ScriptedWorker:
        workers.append(ScriptedWorker(server.address, **fields))  # type: ignore[arg-type]
        return workers[-1]

    yield make
    for worker in workers:
        worker.stop()


@pytest.fixture
def worker(new_worker: Callable[..., ScriptedWorker]) -> ScriptedWorker:
    """One worker with four slots."""
    return new_worker()
