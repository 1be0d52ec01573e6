"""The executor under test, and the images that only these tests need."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from daemon.executors.docker import belongings
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.executor import DockerExecutor
from daemon.executors.docker.networks.pause_container import PauseContainer
from daemon.executors.docker.networks.pool import MANY, NetworkPool
from daemon.executors.policy import Policy
from tests.conftest import Images
from tests.support.docker_jobs import WORKER
from tests.support.eventually import eventually
from tests.support.images import (
    BROKEN_TAR,
    BUSYBOX,
    DASH,
    DEBIAN,
    ENTRYPOINT,
    HEALTHY,
    LISTENING,
    NO_SHELL,
    NO_TAR,
    VOLUME,
)

DOCKERFILES = {
    DASH: f"FROM {DEBIAN}\nRUN rm /bin/bash\n",
    ENTRYPOINT: f"""FROM {BUSYBOX}
RUN printf '%s\\n' '#!/bin/sh' 'echo entrypoint said hello >&2' 'export FROM_ENTRYPOINT=yes' 'exec "$@"' >/entry
RUN chmod 755 /entry
USER user
ENTRYPOINT ["/entry"]
""",
    HEALTHY: f"FROM {BUSYBOX}\nHEALTHCHECK --interval=200ms --timeout=1s CMD wget -qO- 127.0.0.1:8080/env\n",
    LISTENING: f"FROM {BUSYBOX}\nEXPOSE 8080\n",
    NO_SHELL: f"""FROM {BUSYBOX}
RUN printf '%s\\n' '#!/bin/busybox sh' 'exec /bin/busybox sleep 1000' >/none && chmod 755 /none && mv /none /bin/sh
""",
    NO_TAR: f"FROM {BUSYBOX}\nRUN rm /bin/tar\n",
    BROKEN_TAR: f"""FROM {DEBIAN}
RUN rm /bin/tar && printf '%s\\n' '#!/bin/sh' 'echo no room; exit 1' >/bin/tar && chmod 755 /bin/tar
""",
    VOLUME: f"FROM {BUSYBOX}\nVOLUME /data\n",
}

MOST_NETWORKS = 6
"""One for each of the images that most tests use, and some for jobs that run side by side."""


@pytest.fixture(scope="session", autouse=True)
def _images(images: Images, docker_client: docker.DockerClient) -> None:
    """Those that are not there yet are built, from the images that all tests use."""
    for image, dockerfile in DOCKERFILES.items():
        if not docker_client.images.list(image):
            docker_client.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=image, rm=True)


class SharedNetworks(NetworkPool):
    """Networks that outlive the executors that use them, for every image that is used more than once."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen: set[str] = set()

    def lease(self, image: str, container: str, to_come: int = 0) -> PauseContainer | None:
        """See NetworkPool."""
        if image in self._seen:
            to_come = MANY
        self._seen.add(image)
        return super().lease(image, container, to_come)

    def close(self) -> None:
        """One of the executors ends."""

    def reclaim(self) -> None:
        """A test is over: removes the networks of jobs that it has removed in other ways than jobs are."""
        with self._change:
            for network in self._networks.values():
                if network.user:
                    self._let_go(network)

    def remove(self) -> None:
        """All of them end."""
        super().close()


@pytest.fixture(scope="package", autouse=True)
def shared_networks(docker_client: docker.DockerClient) -> Iterator[SharedNetworks]:
    """Executors that are given no number of networks share these: a network of its own doubles what a job costs.

    Their holders belong to a coordinator of their own, so no test sees them among what is left behind.
    """
    owner = f"{WORKER}-n"
    engine = DockerClient()
    labels = {belongings.COORDINATOR: owner, belongings.WORKER: owner}
    shared = SharedNetworks(engine, labels, belongings.own_name(owner, belongings.HOLDER_ROLE), MOST_NETWORKS, Policy())

    def pool(its: DockerClient, whose: Mapping[str, str], prefix: str, most: int, policy: Policy) -> NetworkPool:
        ours = {belongings.COORDINATOR: WORKER, belongings.WORKER: WORKER}
        if not most and its.endpoint == engine.endpoint and whose == ours and policy == Policy():
            return shared
        return NetworkPool(its, whose, prefix, most, policy)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("daemon.executors.docker.executor.NetworkPool", pool)
        yield shared
    shared.remove()
    left: dict[str, Any] = {"label": f"{belongings.WORKER}={owner}"}
    eventually(
        lambda: docker_client.containers.list(all=True, ignore_removed=True, filters=left), so=lambda found: found == []
    )


@pytest.fixture
def executor(tmp_path: Path, shared_networks: SharedNetworks) -> Iterator[DockerExecutor]:
    """An executor whose objects are gone after the test."""
    executor = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache")
    yield executor
    executor.sweep(set())
    shared_networks.reclaim()


@pytest.fixture
def leftovers(docker_client: docker.DockerClient) -> Callable[[], list[str]]:
    """Names of all containers, networks and volumes of this test run."""
    labels: dict[str, Any] = {"label": f"longshore.worker={WORKER}"}

    def names() -> list[str]:
        containers = [str(one.name) for one in docker_client.containers.list(True, ignore_removed=True, filters=labels)]
        networks = [str(one.name) for one in docker_client.networks.list(filters=labels)]
        volumes = [str(one.name) for one in docker_client.volumes.list(filters=labels)]
        return [*containers, *networks, *volumes]

    return names
