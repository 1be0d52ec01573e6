"""An executor whose layers are gone after the test too, and looks at the volumes that it has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from daemon.executors.docker.executor import DockerExecutor
from tests.daemon.executors.docker.odd_engine import OddEngine
from tests.support.docker_jobs import WORKER
from tests.support.eventually import eventually
from tests.support.images import BUSYBOX

Volumes = Callable[..., list[str]]


@pytest.fixture
def volumes(docker_client: docker.DockerClient) -> Iterator[Volumes]:
    """Names of the worker's volumes; with True of its layers only, with False of the others."""
    mine = f"longshore.coordinator={WORKER}"

    def names(layers: bool | None = None) -> list[str]:
        found = docker_client.volumes.list(filters={"label": mine})
        kinds = {one.name: (one.attrs["Labels"] or {}).get("longshore.role") == "layer" for one in found}
        return sorted(name for name, layer in kinds.items() if layers is None or layer is layers)

    yield names
    eventually(lambda: names(False), so=lambda left: not left)
    for name in names():
        docker_client.volumes.get(name).remove()


@pytest.fixture
def executor(tmp_path: Path, volumes: Volumes) -> Iterator[DockerExecutor]:
    """An executor whose objects are gone after the test, its layers too."""
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    yield executor
    executor.sweep(set())


@pytest.fixture
def disk(docker_client: docker.DockerClient) -> Callable[..., int]:
    """The size of all files of some volumes, in bytes."""

    def size(*volumes: str) -> int:
        mounts = {name: {"bind": f"/v/{number}", "mode": "ro"} for number, name in enumerate(volumes)}
        said = docker_client.containers.run(BUSYBOX, ["du", "-s", "/v"], volumes=mounts, remove=True)
        return int(said.split()[0]) * 1024

    return size


@pytest.fixture
def odd() -> Iterator[OddEngine]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # a socket's path is short
        odd = OddEngine(Path(directory) / "engine.sock")
        yield odd
        odd.close()


@pytest.fixture
def behind(odd: OddEngine, tmp_path: Path, volumes: Volumes) -> Iterator[DockerExecutor]:
    """An executor that talks to the odd engine."""
    executor = DockerExecutor(WORKER, odd.url, coordinator=WORKER, directory=tmp_path / "cache", patience=0)
    yield executor
    executor.sweep(set())
