"""Removes what is on the engine and nobody wants. One object that can't go is reported once and keeps no other back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from daemon.executors.docker.api_client import GOING, DockerClient, EngineError
from daemon.executors.docker.belongings import NETWORK, WORKER, Belongings, Thing
from daemon.executors.docker.networks.pool import NetworkPool
from daemon.executors.docker.removal_guard import RemovalGuard


class Sweeper:
    """For one worker's `belongings`. `forget` drops what this host keeps about a container. Thread-safe.

    All raise EngineUnavailable, and EngineError if the engine can't list what it has.
    """

    def __init__(
        self,
        engine: DockerClient,
        belongings: Belongings,
        networks: NetworkPool,
        removals: RemovalGuard,
        forget: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._belongings = belongings
        self._networks = networks
        self._removals = removals
        self._forget = forget

    def sweep(self, keep: Collection[str]) -> int:
        """Removes what belongs to no attempt in `keep`, and networks that nobody uses. Returns how many objects.

        What is being removed already is not waited for, and what it holds in use is left to the next sweep.
        """
        pass_ = _Pass(self, wait=False)
        for thing in self._belongings.things():
            pass_.take(thing, lambda attempt: attempt not in keep)
        pass_.take_holders(self._networks.left_behind)
        return pass_.count

    def discard(self, attempt: str) -> None:
        """Removes all of an attempt. Raises EngineError if a container of it is left, after all else is gone; a network
        in which somebody else's container is, is left to the sweep.
        """
        pass_ = _Pass(self, wait=True)
        for thing in self._belongings.things_of(attempt):
            pass_.take(thing, lambda _: True)
        if pass_.failures:
            raise pass_.failures[0]

    def clear(self, others: Belongings, before: float) -> int:
        """Removes what another worker has left that was made `before` (seconds since the epoch). Returns how many."""
        pass_ = _Pass(self, wait=False)
        for thing in others.things():
            if thing.created < before:
                pass_.take(thing, lambda _: True)
            elif not thing.holder:
                pass_.spare(thing)
        pass_.take_holders(lambda holders, used: [name for name in holders if name not in used])
        return pass_.count

    def remove(self, thing: Thing, chosen: Callable[[str], bool], *, wait: bool) -> bool:
        """Removes one object if its attempt is `chosen` still, in the moment it begins. Whether it is gone."""
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

    def told(self, thing: Thing, error: EngineError) -> None:
        """An object can't be removed."""
        self._belongings.once.warn(thing, f"can't be removed: {error.message}")


class _Pass:
    """One walk over objects, containers first. `failures` are of containers that can't be removed."""

    def __init__(self, sweeper: Sweeper, *, wait: bool) -> None:
        self.count = 0
        self.failures: list[EngineError] = []
        self._sweeper = sweeper
        self._wait = wait
        self._holders: dict[str, Thing] = {}
        self._used: set[str] = set()  # holders whose networks are in use
        self._in_the_way: set[str] = set()  # attempts that have containers still

    def take(self, thing: Thing, chosen: Callable[[str], bool]) -> None:
        """Removes an object that is `chosen` by its attempt; a holder waits for `take_holders`."""
        if thing.holder:
            self._holders[thing.labels.get(NETWORK) or thing.name] = thing
        elif thing.kind == "containers":
            if not self._remove(thing, chosen):
                self.spare(thing)
        elif thing.attempt not in self._in_the_way:
            self._remove(thing, chosen)

    def spare(self, thing: Thing) -> None:
        """A container stays, and so does what it uses."""
        if thing.kind == "containers":
            self._in_the_way.add(thing.attempt or "")
            self._used.add(thing.labels.get(NETWORK, ""))

    def take_holders(self, unused: Callable[[Iterable[str], set[str]], list[str]]) -> None:
        """Removes those holders that are `unused`, seeing which are used."""
        for name in unused(self._holders, self._used):
            self._remove(self._holders[name], lambda _: True)

    def _remove(self, thing: Thing, chosen: Callable[[str], bool]) -> bool:
        try:
            gone = self._sweeper.remove(thing, chosen, wait=self._wait)
        except EngineError as error:
            self._sweeper.told(thing, error)
            if thing.kind == "containers":
                self.failures.append(error)
            return False
        self.count += gone
        return gone


def workers_of(things: Iterable[Thing], before: float) -> set[str]:
    """The names of workers that have made some of these objects `before` (seconds since the epoch)."""
    return {thing.labels.get(WORKER, "") for thing in things if thing.created < before} - {""}
