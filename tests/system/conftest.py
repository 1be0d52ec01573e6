"""Whole systems for tests: one that tests share, and new ones for those that break parts of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import Images
from tests.support.eventually import eventually
from tests.support.system import System, leftovers


def _checked(system: System, client: docker.DockerClient) -> Iterator[System]:
    """Gives the system out; afterwards nothing that it made may be left in Docker."""
    try:
        yield system
        if (system.folder / "state" / "longshore.db").exists():
            coordinator = system.coordinator_id
            eventually(lambda: leftovers(client, coordinator), so=lambda left: left == [])
    finally:
        system.stop()


@pytest.fixture
def system(tmp_path: Path, images: Images, docker_client: docker.DockerClient) -> Iterator[System]:
    """A folder for a system of the test's own, nothing started."""
    folder = tmp_path / "system"
    folder.mkdir()
    yield from _checked(System(folder), docker_client)


@pytest.fixture(scope="package")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, images: Images, docker_client: docker.DockerClient
) -> Iterator[System]:
    """A coordinator and three workers that tests share; no test may stop them."""
    system = System(tmp_path_factory.mktemp("fleet"))
    system.start_coordinator()
    for number in (1, 2, 3):
        labels = ["--label", "third"] if number == 3 else []
        system.start_worker(f"w{number}", "--slots", "2", *labels)
    system.wait_for_workers(3)
    yield from _checked(system, docker_client)


@pytest.fixture
def system_without_docker(tmp_path: Path) -> System:
    """A folder for clients that never come so far as to need Docker."""
    folder = tmp_path / "system"
    folder.mkdir()
    return System(folder, extra={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
