"""A container that is created and never started: the way to the files of a volume, or of an image.

Helpers and volumes that are being filled carry no attempt: the sweep of their own process must know of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from uuid import uuid4

from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.belongings import COORDINATOR, LAYER_ROLE, ROLE, own_name

MOUNT = "/longshore-layer"
"""The directory of volumes in a helper."""


class Helpers:
    """Makes helpers of one worker, and names for all that is made with them. Thread-safe.

    `labels` are those of the worker's objects; they are completed here.
    """

    def __init__(self, engine: DockerClient, labels: Mapping[str, str]) -> None:
        self.engine = engine
        self.labels = {**labels, ROLE: LAYER_ROLE}
        self._lock = Lock()
        self._under_way: set[str] = set()

    def under_way(self) -> set[str]:
        """Names, or their beginnings, of what this process is making."""
        with self._lock:
            return set(self._under_way)

    @contextmanager
    def making(self) -> Iterator[str]:
        """A new name, which counts as under way in the block."""
        name = own_name(self.labels[COORDINATOR], f"{LAYER_ROLE}-{uuid4().hex[:12]}")
        with self._lock:
            self._under_way.add(name)
        try:
            yield name
        finally:
            with self._lock:
                self._under_way.discard(name)

    @contextmanager
    def container(self, name: str, image: str, binds: Sequence[str] = ()) -> Iterator[str]:
        """A helper's id; it is gone after the block. `image` is an id. Raises EngineError, EngineUnavailable."""
        body = {
            "Image": image,
            "Entrypoint": ["sh"],
            "Cmd": [],
            "User": "0:0",
            "WorkingDir": "/",
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": self.labels,
            "HostConfig": {"Binds": list(binds), "NetworkMode": "none", "LogConfig": {"Type": "none"}},
        }
        container = self.engine.call("POST", "/containers/create", query={"name": name}, body=body)["Id"]
        try:
            yield str(container)
        finally:
            with suppress(Exception):  # the sweep removes it
                self.engine.delete(f"/containers/{container}")
