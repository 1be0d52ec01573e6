"""A worker's pool of networks for successive jobs: Docker takes longer to create one than for the rest of a start.

A job's container joins the network of a holder (`pause_container`). It is alone in it, and never follows a container
that left traces there: decision 0008. Knows containers by their names, nothing of jobs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import partial
from threading import Condition
from uuid import uuid4

import msgspec

from daemon.executors.docker.api_client import GONE, DockerClient, EngineError
from daemon.executors.docker.networks.pause_container import PauseContainer, Residue, Unusable
from daemon.executors.policy import Policy
from daemon.runtime.thread_pool import THREADS, Task
from protocol.errors import EngineUnavailable

MANY = 8
"""With this many jobs to come, the first one without a network triggers the creation of another: that costs the engine
as much as it saves two jobs, and its removal costs something too."""
FEW = 4
"""With fewer to come, the last of this many jobs without a network in RECENT seconds triggers it."""
RECENT = 30.0
KEEP_SECONDS = 15.0
"""Lifetime of an unused network."""
REST_SECONDS = 61.0
"""Seconds until a network with open connections is checked again: Linux keeps their ports for a minute."""
UNUSABLE_SECONDS = 600.0
"""Seconds without another network for an image after a failure with it."""
CLOSE_SECONDS = 10.0
"""Seconds that the daemon's end waits for their removal."""
NAME_DIGITS = 12
MOST_MISSED = 64
EVICT_SECONDS = 5.0
"""Idle seconds after which a network may be evicted for another image."""
FAILURES = (EngineError, EngineUnavailable, Unusable, OSError, *GONE)

logger = logging.getLogger(__name__)


class _State(Enum):
    FREE = "free"
    RESTING = "resting"  # earlier connections are not over yet
    TAKEN = "taken"
    GOING = "going"  # it is being removed


class _Network(msgspec.Struct):
    """`user` is the container that uses it; `since` (monotonic) is the time of its last state change."""

    holder: PauseContainer
    user: str
    state: _State = _State.TAKEN
    since: float = msgspec.field(default_factory=time.monotonic)

    def turn(self, state: _State, user: str = "") -> None:
        self.state, self.user, self.since = state, user, time.monotonic()


class NetworkPool:
    """The networks of one worker process. Thread-safe.

    The holders have `labels` (the worker's own) and names that begin with `prefix`. There are at most `most`. With
    none, or where the policy lets jobs reach beyond their containers, all jobs get their own networks.
    """

    def __init__(
        self,
        engine: DockerClient,
        labels: Mapping[str, str],
        prefix: str,
        most: int,
        policy: Policy,
    ) -> None:
        self._engine = engine
        self._labels = labels
        self._prefix = prefix
        self._most = 0 if policy.privileged or policy.volumes else most
        self._change = Condition()
        self._networks: dict[str, _Network] = {}
        self._missed: deque[tuple[str, float]] = deque(maxlen=MOST_MISSED)  # image, time
        self._unusable: dict[str, float] = {}  # image, end of the pause
        self._minded = False
        self._closed = False

    def lease(self, image: str, container: str, to_come: int = 0) -> PauseContainer | None:
        """The holder for `container`, of the image with this id, to join; None: it uses its own network.

        The network belongs to that container until `free`. `to_come`: number of further containers expected soon; if
        worthwhile, a network is created that they can use then.
        """
        while network := self._take(image, container):
            if network.holder.answers():
                return network.holder
            self._let_go(network)
        if (network := self._add(image, container, to_come)) and self._make(network):
            return network.holder
        return None

    def free(self, name: str, container: str) -> None:
        """A container that had joined this holder's network is gone. Networks of earlier processes are not reused."""
        with self._change:
            network = self._networks.get(name)
            if network and (network.state is not _State.TAKEN or network.user != container):
                return  # freed before, and possibly in use by another one
            if network:
                network.turn(_State.TAKEN)
        if network:
            self._look(network)
        elif name.startswith(f"{self._prefix}-"):  # labels are untrusted
            try:
                self._engine.delete(f"/containers/{name}")
            except FAILURES as error:
                logger.warning("removing the network %s failed, left to a sweep: %s", name, error)

    def holds(self, name: str) -> bool:
        """Whether this holder's network still exists, as far as known without asking its container."""
        with self._change:
            network = self._networks.get(name)
        return network is None or network.holder.answers()

    def left_behind(self, holders: Iterable[str], used: set[str]) -> list[str]:
        """Of the holders on the engine, those of an earlier process that no job's container has joined."""
        with self._change:
            return [name for name in holders if name not in used and name not in self._networks]

    def close(self) -> None:
        """Removes unused networks, within a time limit. The rest is for the next daemon of this name."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            for network in self._networks.values():
                if network.state in (_State.FREE, _State.RESTING):
                    self._let_go(network)
            self._change.wait_for(
                lambda: all(network.state is not _State.GOING for network in self._networks.values()), CLOSE_SECONDS
            )

    # selection and growth

    def _take(self, image: str, container: str) -> _Network | None:
        with self._change:
            for network in self._networks.values():
                if network.state is _State.FREE and network.holder.image == image:
                    network.turn(_State.TAKEN, container)
                    return network
            return None

    def _add(self, image: str, container: str, to_come: int) -> _Network | None:
        """Another network, to be created for a container that would otherwise get none; None if not worthwhile."""
        now = time.monotonic()
        with self._change:
            if not self._most or self._closed or now < self._unusable.get(image, 0.0):
                return None
            self._missed.append((image, now))
            recent = [one for one in self._missed if one[0] == image and now - one[1] < RECENT]
            if to_come < MANY and len(recent) < FEW:
                return None
            if sum(network.state is not _State.GOING for network in self._networks.values()) >= self._most:
                unused = self._evictable(image, now)
                if unused is None:
                    return None
                self._let_go(unused)
            for one in recent:
                self._missed.remove(one)
            network = _Network(PauseContainer(f"{self._prefix}-{uuid4().hex[:NAME_DIGITS]}", image), container)
            self._networks[network.holder.name] = network
            return network

    def _evictable(self, image: str, now: float) -> _Network | None:
        unused = [
            n
            for n in self._networks.values()
            if n.state in (_State.FREE, _State.RESTING) and n.holder.image != image and now - n.since > EVICT_SECONDS
        ]
        return min(unused, key=lambda n: n.since, default=None)

    # life cycle

    def _make(self, network: _Network) -> bool:
        """Creates the network. Returns whether it succeeded."""
        try:
            network.holder.make(self._engine, self._labels)
        except FAILURES as error:
            logger.info("creating a network from %s failed: %s", network.holder.image, error)
            if not isinstance(error, EngineUnavailable):
                self._unusable[network.holder.image] = time.monotonic() + UNUSABLE_SECONDS
            self._drop(network)
            return False
        return True

    def _let_go(self, network: _Network) -> None:
        """Has a network removed by another thread, as that may take long."""
        network.turn(_State.GOING)
        try:
            THREADS.start(Task(partial(self._drop, network), "network"))
        except RuntimeError as error:
            logger.warning("no thread to remove a network, left to a sweep: %s", error)
            self._networks.pop(network.holder.name, None)

    def _look(self, network: _Network, *, again: bool = False) -> None:
        """Makes a network available again if its last user has left no residue."""
        try:
            residue = network.holder.look()
        except FAILURES as error:
            logger.info("checking a network failed: %s", error)
            self._drop(network)
        else:
            if residue is Residue.CHANGED or (again and residue is Residue.BUSY):
                self._drop(network)
            else:
                self._settle(network, _State.FREE if residue is Residue.CLEAN else _State.RESTING)

    def _settle(self, network: _Network, state: _State) -> None:
        with self._change:
            closed = self._closed
            network.turn(_State.GOING if closed else state)
            if not self._minded and not closed:
                self._minded = True
                THREADS.start(Task(self._mind, "networks"))
            self._change.notify_all()
        if closed:
            self._drop(network)

    def _drop(self, network: _Network) -> None:
        """Removes a network that can't be used (any more). If the engine fails, that is left to a sweep."""
        try:
            network.holder.remove(self._engine)
        except FAILURES as error:
            logger.warning("removing a network failed: %s", error)
        with self._change:
            self._networks.pop(network.holder.name, None)
            self._change.notify_all()

    def _mind(self) -> None:
        """Maintains the unused networks, as long as there are any."""
        while due := self._next_due():
            network, state = due
            if state is _State.RESTING:
                self._look(network, again=True)
            else:
                self._drop(network)

    def _next_due(self) -> tuple[_Network, _State] | None:
        """Waits for and takes the next network that is due; None when none are left."""
        with self._change:
            while self._networks and not self._closed:
                now = time.monotonic()
                left = {name: at - now for name, network in self._networks.items() if (at := self._due(network))}
                first = min(left, key=left.__getitem__, default=None)
                if first is None or left[first] > 0:
                    self._change.wait(None if first is None else left[first])
                    continue
                network = self._networks[first]
                state = network.state
                network.turn(_State.TAKEN)
                return network, state
            self._minded = False
            return None

    def _due(self, network: _Network) -> float | None:
        """Time at which a network needs attention (monotonic)."""
        waits = {_State.FREE: KEEP_SECONDS, _State.RESTING: REST_SECONDS}.get(network.state)
        return None if waits is None else network.since + waits
