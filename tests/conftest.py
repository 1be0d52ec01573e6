"""What tests of several packages need: the Docker engine and the images made for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
os.environ["LONGSHORE_CONFIG"] = os.devnull  # the settings of who runs the tests are not the tests'

settings.register_profile("longshore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("longshore")  # a machine that is busy with something else is no failure


@dataclass(frozen=True, slots=True)
class Images:
    """Images that `scripts/images.sh` makes of this machine's Debian packages."""

    busybox: str = "longshore/busybox:test"
    debian: str = "longshore/debian:test"


@pytest.fixture(scope="session")
def images() -> Images:
    """The test images, made if they are not there in their present form."""
    subprocess.run([ROOT / "scripts" / "images.sh", "demo", "test"], check=True, stdin=subprocess.DEVNULL)
    return Images()


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """The engine that jobs run on."""
    client = docker.from_env()
    client.ping()
    yield client
    client.close()
