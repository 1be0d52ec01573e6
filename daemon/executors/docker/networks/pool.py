"""The networks that a worker's jobs use one after the other: making one takes Docker longer than the rest of a start.

A job's container joins the network of a holder (`network_holder`). It is alone in it, and comes after nobody who has
left anything there: decision 0008. Knows containers by their names, nothing of jobs.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from threading import Condition
from uuid import uuid4

from daemon.executors.docker.api_client import GONE, DockerClient, EngineError
from daemon.executors.docker.networks.pause_container import PauseContainer, Trace, Unfit
from daemon.executors.policy import Policy
from daemon.runtime.thread_pool import THREADS, Task
from protocol.errors import EngineUnavailable

MANY = 8
"""With so many jobs to come, the first one that has to do without makes another network: that costs the engine what it
saves two of them, and removing it something too."""
FEW = 4
"""With fewer to come, the last of so many that had to do without in RECENT seconds."""
RECENT = 30.0
KEEP_SECONDS = 15.0
"""How long a network stays that nobody uses."""
REST_SECONDS = 61.0
"""When a network is looked at again whose connections were not over: Linux keeps their ports for a minute."""
UNFIT_SECONDS = 600.0
"""How long no network is made of an image with which it went wrong."""
CLOSE_SECONDS = 10.0
"""How long the daemon's end waits for them to be gone."""
NAME_DIGITS = 12
MOST_MISSED = 64
EVICT_SECONDS = 5.0
"""So long unused, a network makes room for one of another image."""
FAILURES = (EngineError, EngineUnavailable, Unfit, OSError, *GONE)

logger = logging.getLogger(__name__)


class _State(Enum):
    FREE = "free"
    RESTING = "resting"  # somebody's connections are not over yet
    TAKEN = "taken"
    GOING = "going"  # it is being removed


@dataclass(slots=True)
class _Network:
    """`user` is the container that has it; `since` (monotonic) counts from its last change of state."""

    holder: PauseContainer
    user: str
    state: _State = _State.TAKEN
    since: float = field(default_factory=time.monotonic)

    def turn(self, state: _State, user: str = "") -> None:
        self.state, self.user, self.since = state, user, time.monotonic()


class NetworkPool:
    """Those of one worker's life. Thread-safe.

    The holders have `labels` (the worker's own) and names that begin with `prefix`. There are at most `most`. With
    none, or where the policy lets jobs reach beyond their containers, all jobs get networks of their own.
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
        self._missed: deque[tuple[str, float]] = deque(maxlen=MOST_MISSED)  # image, when
        self._unfit: dict[str, float] = {}  # image, until when
        self._minded = False
        self._closed = False

    def lease(self, image: str, container: str, to_come: int = 0) -> PauseContainer | None:
        """The holder that `container`, of the image with this id, is to join; None: it takes its own network.

        The network is that container's until `free`. `to_come`: how many more containers there may be soon; if it pays,
        a network is made for it that they can use then.
        """
        while network := self._take(image, container):
            if network.holder.answers():
                return network.holder
            self._let_go(network)
        if (network := self._add(image, container, to_come)) and self._make(network):
            return network.holder
        return None

    def free(self, name: str, container: str) -> None:
        """A container is gone that had joined the network of this holder. Nobody uses one of an earlier life again."""
        with self._change:
            network = self._networks.get(name)
            if network and (network.state is not _State.TAKEN or network.user != container):
                return  # it was freed before, and may be another one's now
            if network:
                network.turn(_State.TAKEN)
        if network:
            self._look(network)
        elif name.startswith(f"{self._prefix}-"):  # a label is anything
            try:
                self._engine.delete(f"/containers/{name}")
            except FAILURES as error:
                logger.warning("the network %s can't be removed, which is left to a sweep: %s", name, error)

    def holds(self, name: str) -> bool:
        """Whether the network of this holder is there still, as far as is known without asking its container."""
        with self._change:
            network = self._networks.get(name)
        return network is None or network.holder.answers()

    def left_behind(self, holders: Iterable[str], used: set[str]) -> list[str]:
        """Of the holders that are on the engine, those of an earlier life that no container of a job has joined."""
        with self._change:
            return [name for name in holders if name not in used and name not in self._networks]

    def close(self) -> None:
        """Removes those that nobody uses, within a bound. What is left is for the next daemon of this name."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            for network in self._networks.values():
                if network.state in (_State.FREE, _State.RESTING):
                    self._let_go(network)
            self._change.wait_for(
                lambda: all(network.state is not _State.GOING for network in self._networks.values()), CLOSE_SECONDS
            )

    # which one, and whether it is time for another

    def _take(self, image: str, container: str) -> _Network | None:
        with self._change:
            for network in self._networks.values():
                if network.state is _State.FREE and network.holder.image == image:
                    network.turn(_State.TAKEN, container)
                    return network
            return None

    def _add(self, image: str, container: str, to_come: int) -> _Network | None:
        """One more, to be made for a container that else has to do without; None if that does not pay."""
        now = time.monotonic()
        with self._change:
            if not self._most or self._closed or now < self._unfit.get(image, 0.0):
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

    # their lives

    def _make(self, network: _Network) -> bool:
        """Whether it is there now."""
        try:
            network.holder.make(self._engine, self._labels)
        except FAILURES as error:
            logger.info("no network can be made of %s: %s", network.holder.image, error)
            if not isinstance(error, EngineUnavailable):
                self._unfit[network.holder.image] = time.monotonic() + UNFIT_SECONDS
            self._drop(network)
            return False
        return True

    def _let_go(self, network: _Network) -> None:
        """Has one removed by another thread: that may take long."""
        network.turn(_State.GOING)
        try:
            THREADS.start(Task(partial(self._drop, network), "network"))
        except RuntimeError as error:
            logger.warning("no thread to remove a network, which is left to a sweep: %s", error)
            self._networks.pop(network.holder.name, None)

    def _look(self, network: _Network, *, again: bool = False) -> None:
        """Lets it be used again if its next user would find nothing of the last one."""
        try:
            trace = network.holder.look()
        except FAILURES as error:
            logger.info("a network can't be looked at: %s", error)
            self._drop(network)
        else:
            if trace is Trace.CHANGED or (again and trace is Trace.BUSY):
                self._drop(network)
            else:
                self._settle(network, _State.FREE if trace is Trace.CLEAN else _State.RESTING)

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
        """Removes one that nobody can take (any more). If the engine does not let it, that is left to a sweep."""
        try:
            network.holder.remove(self._engine)
        except FAILURES as error:
            logger.warning("a network can't be removed: %s", error)
        with self._change:
            self._networks.pop(network.holder.name, None)
            self._change.notify_all()

    def _mind(self) -> None:
        """Looks after those that nobody uses, for as long as there are any."""
        while due := self._next_due():
            network, state = due
            if state is _State.RESTING:
                self._look(network, again=True)
            else:
                self._drop(network)

    def _next_due(self) -> tuple[_Network, _State] | None:
        """Waits for one whose time is over, and takes it; None when there are none left."""
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
        """When something is to be done about one (monotonic)."""
        waits = {_State.FREE: KEEP_SECONDS, _State.RESTING: REST_SECONDS}.get(network.state)
        return None if waits is None else network.since + waits
