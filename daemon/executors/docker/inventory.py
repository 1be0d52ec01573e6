"""All workers' objects on an engine, and verdicts on which are abandoned. Reads labels and locks; sends no request.

A worker is alive if the file that its labels name is locked. That is visible only on its own host and under its own
kernel; for any other worker only the age of its objects is known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from pathlib import Path

import msgspec

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
    layers_of,
)
from daemon.executors.docker.logs import stored
from protocol.clock import boot
from protocol.file_lock import try_lock

OLD_SECONDS = 86_400.0
"""Age in seconds after which a worker's leftovers count as abandoned."""

Owner = tuple[str, str]
"""A coordinator's id and a worker's name."""


class Life(Enum):
    """Whether a worker is alive."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Verdict(str, Enum):
    """A decision about an object."""

    KEEP = "keep"  # in use, or possibly
    CLEAN = "clean"  # abandoned
    FORCE = "force"  # its worker is dead, and the next one of its name would resume it


class Leftover(msgspec.Struct, frozen=True):
    """An object with its verdict; `reason` is for people."""

    thing: Thing
    life: Life
    verdict: Verdict
    reason: str


class WorkersReport(msgspec.Struct, frozen=True):
    """A reachable coordinator's report on its workers: those `gone` for good, and the `busy` ones with jobs."""

    gone: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()


def inventory(engine: DockerClient) -> list[Thing]:
    """All of Longshore's objects on an engine, of any worker. Raises EngineError, EngineUnavailable."""
    return list(Belongings(engine).things())


def find_begun(engine: DockerClient, things: Iterable[Thing]) -> frozenset[str]:
    """Ids of job containers whose script has begun, or may have: they may have a result.

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
    """An object's owner."""
    return thing.labels.get(COORDINATOR, ""), thing.labels.get(WORKER, "")


def judge(
    things: Iterable[Thing],
    reports: Mapping[str, WorkersReport],
    begun: Collection[str],
    *,
    local: bool,
    now: float | None = None,
) -> list[Leftover]:
    """A verdict for each object. `reports` are by coordinator, `begun` is from `find_begun`; `local`: the engine and
    all its workers are on this host.
    """
    now = time.time() if now is None else now
    by_owner: dict[Owner, list[Thing]] = {}
    for thing in things:
        by_owner.setdefault(owner(thing), []).append(thing)
    leftovers: list[Leftover] = []
    for (coordinator, _), own in by_owner.items():
        life = _life(own, local)
        judged = [_judge(thing, life, reports.get(coordinator), thing.id in begun, now) for thing in own]
        leftovers += _together(judged)
    return leftovers


def _judge(thing: Thing, life: Life, report: WorkersReport | None, begun: bool, now: float) -> Leftover:
    old = now - thing.created > OLD_SECONDS
    worker = thing.labels.get(WORKER, "")

    def verdict(what: Verdict, reason: str) -> Leftover:
        return Leftover(thing, life, what, reason)

    if life is Life.ALIVE:
        return verdict(Verdict.KEEP, "its worker is alive")
    if report is not None and worker in report.busy:
        return verdict(Verdict.KEEP, "its coordinator waits for its worker to return")
    if thing.layer and life is Life.DEAD:
        return verdict(Verdict.CLEAN, "kept for the project's next jobs, and not in use")
    if report is not None and (worker in report.gone or life is Life.DEAD):
        if old or life is Life.DEAD:
            return verdict(Verdict.CLEAN, "its coordinator needs nothing from its worker")
        return verdict(Verdict.KEEP, "it is less than a day old")
    if life is Life.DEAD:
        if old and not begun:
            return verdict(Verdict.CLEAN, "its worker has been dead for more than a day")
        return verdict(Verdict.FORCE, "its worker is dead, and another one of its name would resume it")
    if report is not None or not old:
        return verdict(Verdict.KEEP, "its worker may be alive" if report is not None else "it is less than a day old")
    if begun and thing.state in UP:
        return verdict(Verdict.KEEP, "it is running, and its worker's state is unknown")
    return verdict(Verdict.CLEAN, "it is more than a day old, and its worker is unknown")


def _together(judged: list[Leftover]) -> list[Leftover]:
    """Extends a kept container's verdict to the objects that it uses."""
    order = (Verdict.CLEAN, Verdict.FORCE, Verdict.KEEP)
    attempts: dict[str, Leftover] = {}
    networks: dict[str, Leftover] = {}
    layers: dict[str, Leftover] = {}
    for one in judged:
        if one.thing.kind == "containers" and not one.thing.holder:
            for key, users in (
                (one.thing.labels.get(ATTEMPT, ""), attempts),
                (one.thing.labels.get(NETWORK), networks),
                *((layer, layers) for layer in layers_of(one.thing.labels)),
            ):
                if key and (key not in users or order.index(one.verdict) > order.index(users[key].verdict)):
                    users[key] = one
    together = []
    for one in judged:
        thing = one.thing
        if thing.layer:
            user = layers.get(thing.name)
        elif thing.holder:
            user = networks.get(thing.labels.get(NETWORK) or thing.name)
        else:
            user = attempts.get(thing.labels.get(ATTEMPT, ""))
        if user is not None and order.index(user.verdict) > order.index(one.verdict):
            one = Leftover(one.thing, one.life, user.verdict, user.reason)
        together.append(one)
    return together


def _life(things: Iterable[Thing], local: bool) -> Life:
    """The state of the worker with these objects: its newest information counts."""
    said = [(thing.labels[BOOT], thing.labels[LOCK]) for thing in things if {BOOT, LOCK} <= thing.labels.keys()]
    lives = {_life_of(*one, local=local) for one in set(said)}
    return next((life for life in (Life.ALIVE, Life.UNKNOWN, Life.DEAD) if life in lives), Life.UNKNOWN)


def _life_of(its_boot: str, lock: str, *, local: bool) -> Life:
    if its_boot != boot() or not its_boot:
        return Life.DEAD if local and its_boot and boot() else Life.UNKNOWN
    try:
        file = os.open(Path(lock), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # absent: the worker may run in a container, where the path differs
        return Life.UNKNOWN
    try:
        return Life.DEAD if try_lock(file, shared=True) else Life.ALIVE
    except OSError:  # a file system without locks: rather alive than robbed
        return Life.ALIVE
    finally:
        os.close(file)


def clean(engine: DockerClient, leftovers: Collection[Leftover], *, force: bool) -> tuple[list[Leftover], list[str]]:
    """Removes the abandoned objects, containers first. Returns those removed, and problems with the rest."""
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
