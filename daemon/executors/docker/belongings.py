"""Longshore's objects on an engine, by their labels: containers, networks, volumes. Knows no worker and no job.

Other objects with some of our labels are reported once and left alone: made by hand, by another version, or run from
an image that was committed from a Longshore container (an image keeps its container's labels).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal

import msgspec

from daemon.executors.docker.api_client import DockerClient, EngineError, labels_of
from protocol.names import ATTEMPT_ID

COORDINATOR, WORKER, ATTEMPT, ROLE = (f"longshore.{key}" for key in ("coordinator", "worker", "attempt", "role"))
BOOT, LOCK = "longshore.boot", "longshore.lock"
"""The kernel's boot ID where a worker runs, and the file that it locks there: see `inventory`."""
NETWORK = "longshore.network"
"""On a network's holder: its name at creation. On a job's container: the holder of the network that it joined."""
LEASE = "longshore.lease"
KEEP = "longshore.keep"
"""On a job's container that does not end with its script."""
LAYERS = "longshore.layers"
"""On containers: the volumes below their project directory, separated by commas."""
CACHES = "longshore.caches"
"""On a job's container: the caches among these volumes."""
SHORT_ID = 12
"""Characters of a coordinator's id in names."""
HOLDER_ROLE = "network"
LAYER_ROLE = "layer"
"""Of volumes with files that several jobs share, and of the containers that fill them."""
ROLES = ("job", "service", HOLDER_ROLE, LAYER_ROLE)
MOST_LOGGED = 10_000

Kind = Literal["containers", "networks", "volumes"]
KINDS: tuple[Kind, ...] = ("containers", "networks", "volumes")
"""In the order of removal: a network or volume can't be removed while a container uses it."""

logger = logging.getLogger(__name__)


class Thing(msgspec.Struct, frozen=True):
    """One object on the engine. `state` is a container's, "" otherwise; `created` is in seconds since the epoch."""

    kind: Kind
    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    created: float

    @property
    def path(self) -> str:
        """Its path in the engine's API."""
        return f"/{self.kind}/{self.id}"

    @property
    def attempt(self) -> str | None:
        """The attempt that it belongs to, if its label is valid."""
        attempt = self.labels.get(ATTEMPT, "")
        return attempt if ATTEMPT_ID.fullmatch(attempt) else None

    @property
    def holder(self) -> bool:
        """Whether it is a container that holds a network for jobs."""
        return self.kind == "containers" and self.labels.get(ROLE) == HOLDER_ROLE

    @property
    def layer(self) -> bool:
        """Whether it is a volume with files for several jobs, or a container that fills one."""
        return self.labels.get(ROLE) == LAYER_ROLE

    def __str__(self) -> str:
        return f"{self.kind[:-1]} {self.name}"


def layers_of(labels: Mapping[str, str]) -> list[str]:
    """The layers that a container with these labels uses, by the names of their volumes."""
    return list(filter(None, labels.get(LAYERS, "").split(",")))


def own_name(coordinator: str, what: str) -> str:
    """The name for an object of a coordinator's worker."""
    return "-".join(filter(None, ["longshore", coordinator[:SHORT_ID], what]))


class Once:
    """Logs each warning once: every sweep meets the same unusual objects. Thread-safe."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()
        self._lock = Lock()

    def warn(self, thing: Thing, what: str, level: int = logging.WARNING) -> None:
        """Logs `what` about an object."""
        with self._lock:
            if (thing.id, what) in self._logged or len(self._logged) >= MOST_LOGGED:
                return
            self._logged.add((thing.id, what))
        logger.log(level, "%s %s", thing, what)


class Belongings:
    """The objects with all of `labels`, or (None) of all workers and coordinators. Thread-safe."""

    def __init__(self, engine: DockerClient, labels: Mapping[str, str] | None = None) -> None:
        self._engine = engine
        self._wanted = [COORDINATOR] if labels is None else [f"{key}={value}" for key, value in labels.items()]
        self._inherits: dict[str, bool] = {}
        self.once = Once()

    def things(self, kinds: tuple[Kind, ...] = KINDS, *also: str) -> Iterator[Thing]:
        """Objects of these kinds, in order, that also have the labels `also` (`KEY=VALUE`). Queries one kind at a time.

        Raises EngineError, EngineUnavailable.
        """
        for kind in kinds:
            for answer in self._answers(kind, also):
                thing = _read(kind, answer)
                if thing is not None and self._made_by_us(thing):
                    yield thing

    def things_of(self, attempt: str) -> Iterator[Thing]:
        """All objects of an attempt."""
        return self.things(KINDS, f"{ATTEMPT}={attempt}")

    def _answers(self, kind: Kind, also: tuple[str, ...]) -> list[Any]:
        query: dict[str, str | int] = {"filters": json.dumps({"label": [*self._wanted, *also]})}
        path = f"/{kind}"
        if kind == "containers":
            path, query = "/containers/json", {**query, "all": 1}
        answer = self._engine.call("GET", path, query=query)
        if kind == "volumes":
            answer = answer.get("Volumes") if isinstance(answer, dict) else None
        return answer if isinstance(answer, list) else []

    def _made_by_us(self, thing: Thing) -> bool:
        labels = thing.labels
        if thing.kind == "containers" and labels.get(ROLE) not in ROLES:
            self.once.warn(thing, f"has Longshore's labels but the unknown role {labels.get(ROLE)!r}: left alone")
        elif not thing.holder and not thing.layer and thing.attempt is None:
            self.once.warn(thing, f"has Longshore's labels but no attempt ({labels.get(ATTEMPT)!r}): left alone")
        elif not self._has_own_name(thing) and self._inherited(thing):
            self.once.warn(thing, "has Longshore's labels from its image only: left alone")
        else:
            return True
        return False

    def _has_own_name(self, thing: Thing) -> bool:
        shared = LAYER_ROLE if thing.layer else HOLDER_ROLE
        expected = own_name(thing.labels.get(COORDINATOR, ""), thing.attempt or shared)
        return thing.name == expected or thing.name.startswith(expected + "-")

    def _inherited(self, thing: Thing) -> bool:
        """Whether a container's labels come from its image, or may; not so for a renamed one of ours."""
        if thing.kind != "containers":
            return False
        if thing.id not in self._inherits:
            try:
                image = self._engine.call("GET", f"/containers/{thing.id}/json")["Image"]
                facts = self._engine.call("GET", f"/images/{image}/json")
                inherits = COORDINATOR in labels_of(facts.get("Config"))
            except (EngineError, KeyError, TypeError, AttributeError):
                return True
            self._inherits[thing.id] = inherits
        return self._inherits[thing.id]


def _read(kind: Kind, answer: Any) -> Thing | None:
    """An entry of a list, with any field missing; None if it lacks an identity."""
    if not isinstance(answer, dict):
        return None
    name = (answer.get("Names") or [""])[0].removeprefix("/") if kind == "containers" else answer.get("Name")
    id = name if kind == "volumes" else answer.get("Id")
    if not id:
        return None
    state = str(answer.get("State") or "")
    created = _seconds(answer.get("CreatedAt") if kind == "volumes" else answer.get("Created"))
    return Thing(kind, str(id), str(name or id), labels_of(answer), state, created)


def _seconds(when: Any) -> float:
    """A time of the engine's; 0 if invalid."""
    if isinstance(when, int | float):
        return float(when)
    try:
        moment = datetime.fromisoformat(str(when))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
