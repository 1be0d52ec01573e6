"""A job container's lease on a pooled network, recorded in a label so that a restarted daemon can return it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from daemon.executors.docker.api_client import DockerClient, EngineError, labels_of
from daemon.executors.docker.belongings import NETWORK
from daemon.executors.docker.networks.pause_container import PauseContainer
from daemon.executors.docker.networks.pool import NetworkPool


class NetworkLease:
    """The lease of the container of this name, whichever daemon created it. All raise EngineError, EngineUnavailable.

    `id` is the container's, once known.
    """

    def __init__(self, engine: DockerClient, networks: NetworkPool, container: str) -> None:
        self.id: str | None = None
        self._engine = engine
        self._networks = networks
        self._container = container
        self._holder: str | None = None  # its name at creation
        self._holder_id: str | None = None
        self._known = False  # the holder is known; otherwise read it from the container's label

    @contextmanager
    def joining(self, image: str, to_come: int) -> Iterator[PauseContainer | None]:
        """Joins a free network for an image with this id; None if there is none.

        `to_come`: number of further jobs that may want one. If the block ends before `joined` was called, the container
        was not created, and the network is freed.
        """
        self._known = False
        holder = self._networks.lease(image, self._container, to_come)
        try:
            yield holder
        finally:
            if self._known:
                self._holder, self._holder_id = (holder.name, holder.id) if holder else (None, None)
            elif holder:
                self._networks.free(holder.name, self._container)

    def joined(self) -> None:
        """The container was created in the network."""
        self._known = True

    def _find(self) -> str | None:
        if not self._known:
            facts = self._inspect(self.id or self._container)
            if facts is None:
                return None
            self._holder, self._known = labels_of(facts.get("Config")).get(NETWORK), True
        return self._holder

    def _inspect(self, container: str) -> Mapping[str, Any] | None:
        try:
            facts: Mapping[str, Any] = self._engine.call("GET", f"/containers/{container}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        return facts

    def revive(self) -> bool:
        """Restarts an ended holder, which ended with the engine or was stopped by hand. Returns whether it did."""
        holder = self._find()
        facts = self._inspect(self._holder_id or holder) if holder else None
        if facts is None or facts["State"]["Running"]:
            return False
        self._engine.call("POST", f"/containers/{facts['Id']}/start")
        return True

    @property
    def holder(self) -> str:
        """The holder's name at creation, once known; "" for none."""
        return self._holder or ""

    def gone(self) -> bool:
        """Whether the holder has ended, and the container's network with it."""
        holder = self._find()
        if not holder or (self._holder_id and self._networks.holds(holder)):
            return False
        facts = self._inspect(self._holder_id or holder)
        return facts is None or not facts["State"]["Running"]

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Wraps the container's removal; frees the network after it."""
        holder = self._find()
        yield
        self._holder, self._known = None, True
        if holder:
            self._networks.free(holder, self._container)
