"""Fleets for tests of faults; afterwards nothing of them is left in Docker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import Images
from tests.faults.chaos import remove_all
from tests.faults.fleet import Fleet
from tests.faults.network import NoNamespaces, network


def _served(fleet: Fleet, client: docker.DockerClient) -> Iterator[Fleet]:
    fleet.folder.mkdir()
    try:
        fleet.start_coordinator()
        yield fleet
    finally:
        if fleet.coordinator is not None:
            fleet.mend()
            remove_all(client, fleet)


@pytest.fixture
def fleet(tmp_path: Path, images: Images, docker_client: docker.DockerClient) -> Iterator[Fleet]:
    """A coordinator; the test adds workers."""
    yield from _served(Fleet(tmp_path / "fleet"), docker_client)


@pytest.fixture
def scattered(tmp_path: Path, images: Images, docker_client: docker.DockerClient) -> Iterator[Fleet]:
    """A coordinator with a network, in which workers can be cut off."""
    try:
        with network() as net:
            yield from _served(Fleet(tmp_path / "fleet", network=net), docker_client)
    except NoNamespaces as error:
        pytest.skip(str(error))
