"""What all workers have left on an engine, and what of it nobody comes back for. Reads labels and locks; asks nobody.

A worker lives if the file is locked that its labels name. That can be seen on its own host and under its own kernel
only; of any other worker nothing is known but how old its things are.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from daemon.executors.docker.api_client import GOING, UP, DockerClient, EngineError
from daemon.executors.docker.belongings import (
    ATTEMPT,
    BOOT,
    COORDINATOR,
    LOCK,
    NETWORK,
    ROLE,
    WORKER,
    Belongings,
    Thing,
)
from daemon.executors.docker.logs import stored
from protocol.clock import boot

OLD_SECONDS = 86_400.0
"""What a worker has left for longer than this, it has left for good."""

Owner = tuple[str, str]
"""A coordinator's id and a worker's name."""


class Life(Enum):
    """Whether a worker lives."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Verdict(str, Enum):
    """What is to become of a thing."""

    KEEP = "keep"  # somebody needs it, or may
    CLEAN = "clean"  # nobody comes back for it
    FORCE = "force"  # its worker is dead, and the next one of its name would take it up


@dataclass(frozen=True, slots=True)
class Leftover:
    """A thing with its verdict; `reason` is for people."""

    thing: Thing
    life: Life
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a coordinator that could be asked says of its workers: those `gone` for good, and the `busy` with jobs."""

    gone: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()


def inventory(engine: DockerClient) -> list[Thing]:
    """All that Longshore has on an engine, whoever has made it. Raises EngineError, EngineUnavailable."""
    return list(Belongings(engine).things())


def find_begun(engine: DockerClient, things: Iterable[Thing]) -> frozenset[str]:
    """The ids of those jobs' containers whose script has begun, or of which nobody knows: they may have a result.

    Raises EngineUnavailable.
    """
    begun = set()
    for thing in things:
        if thing.kind == "containers" and thing.labels.get(ROLE) == "job" and thing.state != "created":
            try:
                released = stored.released_at(engine, thing.id) is not None
            except EngineError:
                released = thing.state not in GOING
            if released:
                begun.add(thing.id)
    return frozenset(begun)


def owner(thing: Thing) -> Owner:
    """Whose it is."""
    return thing.labels.get(COORDINATOR, ""), thing.labels.get(WORKER, "")


def judge(
    things: Iterable[Thing],
    told: Mapping[str, Told],
    begun: Collection[str],
    *,
    local: bool,
    now: float | None = None,
) -> list[Leftover]:
    """A verdict for each. `told` is by coordinator, `begun` as `find_begun` gives it; `local`: the engine and all its
    workers are on this host.
    """
    now = time.time() if now is None else now
    by_owner: dict[Owner, list[Thing]] = {}
    for thing in things:
        by_owner.setdefault(owner(thing), []).append(thing)
    leftovers: list[Leftover] = []
    for (coordinator, _), own in by_owner.items():
        life = _life(own, local)
        judged = [_judge(thing, life, told.get(coordinator), thing.id in begun, now) for thing in own]
        leftovers += _together(judged)
    return leftovers


def _judge(thing: Thing, life: Life, told: Told | None, begun: bool, now: float) -> Leftover:
    old = now - thing.created > OLD_SECONDS
    worker = thing.labels.get(WORKER, "")

    def verdict(what: Verdict, reason: str) -> Leftover:
        return Leftover(thing, life, what, reason)

    if life is Life.ALIVE:
        return verdict(Verdict.KEEP, "its worker lives")
    if told is not None and worker in told.busy:
        return verdict(Verdict.KEEP, "its coordinator waits for its worker to come back")
    if told is not None and (worker in told.gone or life is Life.DEAD):
        if old or life is Life.DEAD:
            return verdict(Verdict.CLEAN, "its coordinator wants nothing of its worker")
        return verdict(Verdict.KEEP, "it is not a day old")
    if life is Life.DEAD:
        if old and not begun:
            return verdict(Verdict.CLEAN, "its worker is dead, for more than a day")
        return verdict(Verdict.FORCE, "its worker is dead, and another one of its name would take it up")
    if told is not None or not old:
        return verdict(Verdict.KEEP, "its worker may live" if told is not None else "it is not a day old")
    if begun and thing.state in UP:
        return verdict(Verdict.KEEP, "it runs, and nobody knows whether its worker lives")
    return verdict(Verdict.CLEAN, "it is more than a day old, and no worker of it is known")


def _together(judged: list[Leftover]) -> list[Leftover]:
    """What a container uses that stays has to stay too, with the same verdict."""
    order = (Verdict.CLEAN, Verdict.FORCE, Verdict.KEEP)
    attempts: dict[str, Leftover] = {}
    networks: dict[str, Leftover] = {}
    for one in judged:
        if one.thing.kind == "containers" and not one.thing.holder:
            for key, users in (
                (one.thing.labels.get(ATTEMPT, ""), attempts),
                (one.thing.labels.get(NETWORK), networks),
            ):
                if key and (key not in users or order.index(one.verdict) > order.index(users[key].verdict)):
                    users[key] = one
    together = []
    for one in judged:
        key = one.thing.labels.get(NETWORK) or one.thing.name if one.thing.holder else one.thing.labels.get(ATTEMPT, "")
        user = (networks if one.thing.holder else attempts).get(key)
        if user is not None and order.index(user.verdict) > order.index(one.verdict):
            one = Leftover(one.thing, one.life, user.verdict, user.reason)
        together.append(one)
    return together


def _life(things: Iterable[Thing], local: bool) -> Life:
    """That of the worker which has made these things: what it said last counts."""
    said = [(thing.labels[BOOT], thing.labels[LOCK]) for thing in things if {BOOT, LOCK} <= thing.labels.keys()]
    lives = {_life_of(*one, local=local) for one in set(said)}
    return next((life for life in (Life.ALIVE, Life.UNKNOWN, Life.DEAD) if life in lives), Life.UNKNOWN)


def _life_of(its_boot: str, lock: str, *, local: bool) -> Life:
    if its_boot != boot() or not its_boot:
        return Life.DEAD if local and its_boot and boot() else Life.UNKNOWN
    try:
        file = os.open(Path(lock), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # not there: it may be in a container of its own, where the same path leads elsewhere
        return Life.UNKNOWN
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return Life.ALIVE
    finally:
        os.close(file)
    return Life.DEAD


def clean(engine: DockerClient, leftovers: Collection[Leftover], *, force: bool) -> tuple[list[Leftover], list[str]]:
    """Removes those that are to go, containers first. Returns what is gone, and why the rest is not."""
    wanted = {Verdict.CLEAN, Verdict.FORCE} if force else {Verdict.CLEAN}
    order = {"containers": 0, "networks": 1, "volumes": 2}
    gone: list[Leftover] = []
    problems: list[str] = []
    for one in sorted(leftovers, key=lambda one: (order[one.thing.kind], one.thing.holder)):
        if one.verdict in wanted:
            try:
                engine.delete(one.thing.path)
            except EngineError as error:
                problems.append(f"{one.thing}: {error.message}")
            else:
                gone.append(one)
    return gone, problems
