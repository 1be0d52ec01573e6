"""One network for successive jobs, and the container that holds it. Checks whether it can be reused.

The container uses the jobs' own image, the only one sure to exist; so it can serve jobs of that image only, which
trust it anyway. It runs `pause.sh`, on Docker's default bridge, without any privileges.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping
from enum import Enum
from functools import partial
from importlib.resources import files
from typing import Any

from daemon.executors.common.script import without_comments
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.belongings import HOLDER_ROLE, NETWORK, ROLE
from daemon.executors.docker.logs.multiplexed import HEADER_BYTES

READY_SECONDS = 30.0
ANSWER_SECONDS = 2.0
"""A check takes some 3 ms; a job that has filled the shared files can make it longer."""
MEMORY = 32 << 20
PIDS = 16
SCRIPT = without_comments(files(__package__).joinpath("pause.sh").read_text(encoding="utf-8"))


class Unusable(Exception):
    """The container does not answer, or not as expected."""


class Residue(Enum):
    """Residue of earlier jobs in a network."""

    CLEAN = "clean"  # none
    BUSY = "busy"  # open connections
    CHANGED = "changed"  # files shared with the next container


class PauseContainer:
    """A network, by its container's name at creation, which is also a label. `image` is an id. Not thread-safe."""

    def __init__(self, name: str, image: str) -> None:
        self.name = name
        self.image = image
        self.id = ""  # its container's, once created: unaffected by a rename
        self._connection: socket.socket | None = None

    def make(self, engine: DockerClient, labels: Mapping[str, str]) -> None:
        """Creates the container. Raises EngineError, EngineUnavailable, OSError, Unusable."""
        body: dict[str, Any] = {
            "Image": self.image,
            "Entrypoint": ["sh", "-c", SCRIPT],
            "Cmd": [],
            "User": "0:0",
            "WorkingDir": "/",
            "OpenStdin": True,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {**labels, ROLE: HOLDER_ROLE, NETWORK: self.name},
            "HostConfig": {
                "NetworkMode": "bridge",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "PidsLimit": PIDS,
                "Memory": MEMORY,
                "LogConfig": {"Type": "none"},
            },
        }
        self.id = engine.call("POST", "/containers/create", query={"name": self.name}, body=body)["Id"]
        self._connection = engine.patiently(partial(engine.attach, self.id, output=True))
        engine.call("POST", f"/containers/{self.id}/start")
        if (said := self._answer(READY_SECONDS)) != "ready":
            raise Unusable(f"it answered {said[:100]!r}")

    def look(self) -> Residue:
        """Checks the network for residue. Raises OSError, Unusable."""
        if self._connection is None:
            raise Unusable("it is not attached")
        self._connection.sendall(b"look\n")
        said = self._answer(ANSWER_SECONDS)
        try:
            return Residue(said)
        except ValueError:
            raise Unusable(f"it answered {said[:100]!r}") from None

    def _answer(self, seconds: float) -> str:
        assert self._connection is not None
        self._connection.settimeout(seconds)
        said = b""
        while not said.endswith(b"\n"):
            header = self._receive(HEADER_BYTES)
            said += self._receive(int.from_bytes(header[4:], "big"))
        return said.decode(errors="replace").strip()

    def _receive(self, size: int) -> bytes:
        assert self._connection is not None
        data = b""
        while len(data) < size:
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise Unusable("its container has ended")
            data += piece
        return data

    def answers(self) -> bool:
        """Whether its container has not ended, as far as known without a request: it never writes unasked."""
        if self._connection is None:
            return False
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return not poll.poll(0)

    def remove(self, engine: DockerClient) -> None:
        """Removes the container; no error if it is gone. Raises EngineError, EngineUnavailable."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        engine.delete(f"/containers/{self.id or self.name}")
