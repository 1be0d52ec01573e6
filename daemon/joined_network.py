"""The network that one container of a job has joined, if it has none of its own. Its label tells another daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from daemon.engine import Engine, EngineError
from daemon.networks import NETWORK_LABEL, Networks


class JoinedNetwork:
    """That of the container of this name, whichever daemon has made it. All raise EngineError, EngineUnavailable."""

    def __init__(self, engine: Engine, networks: Networks, container: str) -> None:
        self._engine = engine
        self._networks = networks
        self._container = container
        self._holder: str | None = None
        self._known = False  # what the holder is; else the container's label tells

    @contextmanager
    def joining(self, image: str, to_come: int) -> Iterator[str | None]:
        """Joins a network that is free for an image with this id: the holder's name, None if there is none.

        `to_come`: how many more jobs may want one. It is left again if the block ends before `joined` was called: the
        container was not made.
        """
        self._known = False
        holder = self._networks.lease(image, self._container, to_come)
        try:
            yield holder
        finally:
            if self._known:
                self._holder = holder
            elif holder:
                self._networks.free(holder, self._container)

    def joined(self) -> None:
        """The container was made so."""
        self._known = True

    def _find(self) -> str | None:
        if not self._known:
            try:
                facts = self._engine.call("GET", f"/containers/{self._container}/json")
            except EngineError as error:
                if error.status == 404:
                    return None
                raise
            self._holder, self._known = facts["Config"]["Labels"].get(NETWORK_LABEL), True
        return self._holder

    def revive(self) -> bool:
        """Starts a holder again that has ended, with the engine or by somebody's hand. Returns whether it was so."""
        holder = self._find()
        if holder is None:
            return False
        facts = self._engine.call("GET", f"/containers/{holder}/json")
        if facts["State"]["Running"]:
            return False
        self._engine.call("POST", f"/containers/{holder}/start")
        return True

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Around the container's removal; after it the network is free."""
        holder = self._find()
        yield
        self._holder, self._known = None, True
        if holder:
            self._networks.free(holder, self._container)
