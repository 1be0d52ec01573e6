"""One attempt's project directory: an overlay of layers, below an upper volume of its own for all that it writes.

Job and services mount the same volume. The upper volume goes with the attempt; the layers never change.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from daemon.executors.base import JobFailed
from daemon.executors.docker.api_client import DockerClient, EngineError, labels_of
from daemon.executors.docker.belongings import ATTEMPT, COORDINATOR, WORKER
from daemon.executors.docker.layers.overlays import overlay
from daemon.executors.docker.layers.store import Held
from daemon.runtime.thread_pool import run_in_background
from protocol.errors import EngineUnavailable
from protocol.statuses import FailureReason

logger = logging.getLogger(__name__)


class OtherLayers(Exception):
    """The attempt has a view, of an earlier preparation, with other layers."""


class View(msgspec.Struct, frozen=True):
    """The view with this volume; `layers` are those below it. `prefix` begins the names of all its own volumes."""

    prefix: str
    layers: tuple[str, ...]

    @property
    def volume(self) -> str:
        """The volume for the containers."""
        return f"{self.prefix}-project"

    @property
    def upper(self) -> str:
        """The volume for all that is written."""
        return f"{self.prefix}-upper"

    @property
    def own(self) -> list[str]:
        """All its volumes."""
        return [self.volume, self.upper, f"{self.prefix}-work"]

    def missing(self, engine: DockerClient, labels: Mapping[str, str]) -> str:
        """The name of a volume that was removed from outside; "" if all are there. `labels` are the view's.

        Raises EngineError, EngineUnavailable.
        """
        wanted = {"label": [f"{key}={labels[key]}" for key in (COORDINATOR, WORKER)]}
        answer = engine.call("GET", "/volumes", query={"filters": json.dumps(wanted)})
        there = {str(one["Name"]) for one in answer.get("Volumes") or ()}
        return next((name for name in (*self.own, *self.layers) if name not in there), "")

    def remove(self, engine: DockerClient) -> None:
        """Has the engine remove its volumes, and waits for none: a large one takes seconds. Its containers are gone.

        Raises EngineError, EngineUnavailable.
        """
        for name in self.own:
            run_in_background(_finish, engine.begin_delete(f"/volumes/{name}"), name)


def _finish(wait: Callable[[], None], name: str) -> None:
    try:
        wait()
    except (EngineError, EngineUnavailable, OSError) as error:
        logger.warning("the volume %s can't be removed: the next sweep tries again: %s", name, error)


def make_view(engine: DockerClient, prefix: str, labels: Mapping[str, str], layers: Sequence[Held]) -> View | None:
    """The view of an attempt with these labels, lowest layer first; None if the kernel would not take so many.

    An existing one is used. Raises OtherLayers, JobFailed for a volume of somebody else's, EngineError,
    EngineUnavailable.
    """
    view = View(prefix, tuple(held.volume for held in layers))

    def volume(what: str, options: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        name = f"{prefix}-{what}"
        body = {"Name": name, "Labels": dict(labels), "DriverOpts": options or {}}
        made: Mapping[str, Any] = engine.call("POST", "/volumes/create", body=body)
        if any(labels_of(made).get(key) != labels[key] for key in (COORDINATOR, WORKER, ATTEMPT)):
            message = f"a volume named {name}, not created by this worker, exists: remove it (docker volume rm {name})"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message)
        return made

    directories = {what: str(volume(what)["Mountpoint"]) for what in ("upper", "work")}
    options = overlay(directories, [held.mountpoint for held in layers])
    if options is None:
        return None
    if volume("project", options).get("Options") != options:
        raise OtherLayers
    return view
