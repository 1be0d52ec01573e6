"""What tests of several packages need: the Docker engine and the images made for it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
gc.set_threshold(10_000)  # looking for garbage among all imports and tests took a third of the CPU time
sys.dont_write_bytecode = False  # compiling all tests takes each process 5 s of CPU time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["LONGSHORE_CONFIG"] = os.devnull  # the settings of who runs the tests are not the tests'

# Ignored in the background of a script, and by nohup; programs would inherit that.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}  # not as somebody likes git to be
for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where git itself runs the tests, in a hook
    os.environ.pop(name, None)

settings.register_profile("longshore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("longshore")  # a machine that is busy with something else is no failure

LONGEST_FIRST = (
    "faults",
    "system",
    "daemon/executors/docker",
    "tui",
    "benchmarks",
)
"""What takes long begins early: several processes share the files, and the last one to end is waited for."""


def pytest_collection_finish() -> None:
    """Spares the garbage collector what is there for the whole run."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first (`--no-loadscope-reorder` keeps xdist from undoing it)."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    path = item.path.relative_to(ROOT / "tests").as_posix()
    return next((rank for rank, start in enumerate(LONGEST_FIRST) if path.startswith(start)), len(LONGEST_FIRST))


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
