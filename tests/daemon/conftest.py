"""A fake coordinator, a fake engine and a worker between them, for each test that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_coordinator import FakeCoordinator, RunningWorker, start_worker
from tests.support.fake_executor import FakeEngine


@pytest.fixture
def coordinator() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as fake:
        yield fake


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.prepare_gate.set()
    engine.removal_gate.set()
    engine.kill_all()


@pytest.fixture
def run_worker(
    coordinator: FakeCoordinator, engine: FakeEngine, tmp_path: Path
) -> Iterator[Callable[..., RunningWorker]]:
    """Starts a worker with the settings that are given; it is gone when the test ends."""
    started: list[RunningWorker] = []

    def start(**settings: Any) -> RunningWorker:
        running = start_worker(coordinator.address, tmp_path / "state", engine, **settings)
        started.append(running)
        return running

    yield start
    for running in started:
        if running.alive:
            running.leave()
