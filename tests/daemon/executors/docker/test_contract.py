"""Docker's executor keeps what every executor promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.executors.docker.executor import DockerExecutor
from tests.daemon.executors.contract import ExecutorContract, Open

WORKER = "contract"


class TestDockerExecutor(ExecutorContract):
    """All of it."""

    @pytest.fixture
    def executors(self, tmp_path: Path) -> Iterator[Open]:
        coordinator = tmp_path.name + str(id(self))
        opened: list[DockerExecutor] = []

        def open_one() -> DockerExecutor:
            opened.append(DockerExecutor(WORKER, coordinator=coordinator, directory=tmp_path / "kept"))
            return opened[-1]

        yield open_one
        open_one().sweep(set())
