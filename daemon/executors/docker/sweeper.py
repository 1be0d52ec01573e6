"""Removes unwanted objects from the engine. An object that can't be removed is reported once and blocks no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable

from daemon.executors.docker.api_client import (
    FIRST_DELAY,
    GOING,
    LONGEST_DELAY,
    REMOVAL_SECONDS,
    DockerClient,
    EngineError,
)
from daemon.executors.docker.belongings import NETWORK, WORKER, Belongings, Thing, layers_of
from daemon.executors.docker.layers.store import LayerStore
from daemon.executors.docker.networks.pool import NetworkPool
from daemon.executors.docker.removal_guard import RemovalGuard
from daemon.runtime.thread_pool import run_in_background
from protocol.backoff import Backoff


class Sweeper:
    """Removes one worker's `belongings`. `forget` drops this host's notes about a container. Thread-safe.

    All methods raise EngineUnavailable, and EngineError if the engine can't list its objects.
    """

    def __init__(
        self,
        engine: DockerClient,
        belongings: Belongings,
        networks: NetworkPool,
        layers: LayerStore,
        removals: RemovalGuard,
        forget: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._belongings = belongings
        self._networks = networks
        self._layers = layers
        self._removals = removals
        self._forget = forget

    def sweep(self, keep: Container[str]) -> int:
        """Removes objects that belong to no attempt in `keep`, unused networks, and layers beyond their bounds.

        Returns their number. Does not wait for removals in progress: a thread removes later what they still use.
        """
        pass_ = _Pass(self, wait=False)
        for thing in self._belongings.things():
            pass_.take(thing, lambda attempt: attempt not in keep)
            if thing.state in GOING and thing.attempt is not None:
                run_in_background(self._finish, thing.attempt, keep)
        pass_.take_holders(self._networks.left_behind)
        pass_.take_layers(self._layers.unneeded)
        return pass_.count

    def _finish(self, attempt: str, keep: Container[str]) -> None:
        """Waits for removals in progress, then removes the rest of the attempt; gives up after REMOVAL_SECONDS."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        deadline = time.monotonic() + REMOVAL_SECONDS
        while time.monotonic() < deadline:
            time.sleep(backoff.pause())
            things = list(self._belongings.things_of(attempt))
            if not any(thing.state in GOING for thing in things):
                pass_ = _Pass(self, wait=False)
                for thing in things:
                    pass_.take(thing, lambda attempt: attempt not in keep)
                return

    def discard(self, attempt: str) -> None:
        """Removes all of an attempt. Raises EngineError if a container is left, after everything else is gone; a
        network with a foreign container in it is left to the sweep.
        """
        pass_ = _Pass(self, wait=True)
        for thing in self._belongings.things_of(attempt):
            pass_.take(thing, lambda _: True)
        if pass_.failures:
            raise pass_.failures[0]

    def clear(self, others: Belongings, before: float) -> int:
        """Removes another worker's objects created `before` (seconds since the epoch). Returns their number."""
        pass_ = _Pass(self, wait=False)
        for thing in others.things():
            if thing.created < before:
                pass_.take(thing, lambda _: True)
            elif not thing.holder and not thing.layer:
                pass_.spare(thing)
        pass_.take_holders(lambda holders, used: [name for name in holders if name not in used])
        pass_.take_layers(lambda there, used: set(there) - used)
        return pass_.count

    def remove(self, thing: Thing, chosen: Callable[[str], bool], *, wait: bool) -> bool:
        """Removes one object if its attempt is still `chosen` when the removal begins. Returns whether it is gone."""
        if thing.state in GOING and not wait:
            return False
        if thing.attempt is None:
            return self._engine.delete(thing.path)
        attempt = thing.attempt
        with self._removals.of(attempt, lambda: chosen(attempt)) as may:
            if not may:
                return False
            self._engine.delete(thing.path)
        if thing.kind == "containers":
            self._forget(thing.name)
            if holder := thing.labels.get(NETWORK):
                self._networks.free(holder, thing.name)
        return True

    def report(self, thing: Thing, error: EngineError) -> None:
        """Logs that an object could not be removed."""
        self._belongings.once.warn(thing, f"can't be removed: {error.message}")


class _Pass:
    """One pass over objects, containers first. `failures` are containers that could not be removed."""

    def __init__(self, sweeper: Sweeper, *, wait: bool) -> None:
        self.count = 0
        self.failures: list[EngineError] = []
        self._sweeper = sweeper
        self._wait = wait
        self._holders: dict[str, Thing] = {}
        self._used: set[str] = set()  # holders whose networks are in use
        self._layers: list[Thing] = []  # and the containers that fill them, of the same names
        self._used_layers: set[str] = set()
        self._in_the_way: set[str] = set()  # attempts that still have containers

    def take(self, thing: Thing, chosen: Callable[[str], bool]) -> None:
        """Removes an object if its attempt is `chosen`; holders wait for `take_holders`, layers for `take_layers`."""
        if thing.holder:
            self._holders[thing.labels.get(NETWORK) or thing.name] = thing
        elif thing.layer:
            self._layers.append(thing)
        elif thing.kind == "containers":
            if not self._remove(thing, chosen):
                self.spare(thing)
        elif thing.attempt not in self._in_the_way:
            self._remove(thing, chosen)

    def spare(self, thing: Thing) -> None:
        """Keeps a container, and everything it uses."""
        if thing.kind == "containers":
            self._in_the_way.add(thing.attempt or "")
            self._used.add(thing.labels.get(NETWORK, ""))
            self._used_layers.update(layers_of(thing.labels))

    def take_holders(self, unused: Callable[[Iterable[str], set[str]], list[str]]) -> None:
        """Removes the holders that are `unused`, given the used ones."""
        for name in unused(self._holders, self._used):
            self._remove(self._holders[name], lambda _: True)

    def take_layers(self, unneeded: Callable[[Iterable[str], set[str]], set[str]]) -> None:
        """Removes the layers that are `unneeded`, given the used ones, and the helpers that fill them."""
        names = unneeded({thing.name for thing in self._layers}, self._used_layers)
        for thing in self._layers:
            if thing.name in names:
                self._remove(thing, lambda _: True)

    def _remove(self, thing: Thing, chosen: Callable[[str], bool]) -> bool:
        try:
            gone = self._sweeper.remove(thing, chosen, wait=self._wait)
        except EngineError as error:
            self._sweeper.report(thing, error)
            if thing.kind == "containers":
                self.failures.append(error)
            return False
        self.count += gone
        return gone


def workers_of(things: Iterable[Thing], before: float) -> set[str]:
    """Names of workers with some of these objects created `before` (seconds since the epoch)."""
    return {thing.labels.get(WORKER, "") for thing in things if thing.created < before} - {""}
