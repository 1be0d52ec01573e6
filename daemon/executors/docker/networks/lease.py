"""The network that one container of a job has joined, if it has none of its own. Its label tells another daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from daemon.executors.docker.api_client import DockerClient, EngineError, labels_of
from daemon.executors.docker.belongings import NETWORK
from daemon.executors.docker.networks.pause_container import PauseContainer
from daemon.executors.docker.networks.pool import NetworkPool


class NetworkLease:
    """That of the container of this name, whichever daemon has made it. All raise EngineError, EngineUnavailable.

    `id` is the container's, as soon as it is known.
    """

    def __init__(self, engine: DockerClient, networks: NetworkPool, container: str) -> None:
        self.id: str | None = None
        self._engine = engine
        self._networks = networks
        self._container = container
        self._holder: str | None = None  # the name that it got
        self._holder_id: str | None = None
        self._known = False  # what the holder is; else the container's label tells

    @contextmanager
    def joining(self, image: str, to_come: int) -> Iterator[PauseContainer | None]:
        """Joins a network that is free for an image with this id; None if there is none.

        `to_come`: how many more jobs may want one. It is left again if the block ends before `joined` was called: the
        container was not made.
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
        """The container was made so."""
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
        """Starts a holder again that has ended, with the engine or by somebody's hand. Returns whether it was so."""
        holder = self._find()
        facts = self._inspect(self._holder_id or holder) if holder else None
        if facts is None or facts["State"]["Running"]:
            return False
        self._engine.call("POST", f"/containers/{facts['Id']}/start")
        return True

    @property
    def holder(self) -> str:
        """The name that the holder got, as far as it is known; "" for none."""
        return self._holder or ""

    def gone(self) -> bool:
        """Whether somebody has ended the holder, and the network of the container with it."""
        holder = self._find()
        if not holder or (self._holder_id and self._networks.holds(holder)):
            return False
        facts = self._inspect(self._holder_id or holder)
        return facts is None or not facts["State"]["Running"]

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Around the container's removal; after it the network is free."""
        holder = self._find()
        yield
        self._holder, self._known = None, True
        if holder:
            self._networks.free(holder, self._container)
