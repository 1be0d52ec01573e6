"""A job's project directory: decides whether it is a view of shared layers, or a copy of the checkout.

A view costs the same for any size (create and remove three volumes); a copy is cheaper for a small checkout, and the
only way where the engine can't mount overlays, or where the operator's own volume is mounted there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from daemon.executors.base import Checkout
from daemon.executors.docker.belongings import CACHES, COORDINATOR, LAYERS, layers_of
from daemon.executors.docker.files.job_cache import Base, Found, bases_of
from daemon.executors.docker.images import Image
from daemon.executors.docker.layers.caches import ViewChanges, can_be_layers, layer_of
from daemon.executors.docker.layers.view import OtherLayers, View, make_view
from daemon.executors.docker.shared import SharedResources
from daemon.runtime.thread_pool import run_in_background
from protocol.decoders import from_json
from protocol.messages import Assignment

VIEW_BYTES = 1 << 20
"""Size of a checkout from which on a view is cheaper than a copy."""


class ProjectDirectory:
    """One attempt's. `name` is its container's; `labels` are those of the attempt's objects.

    `view` is None for a copy, or before `lay_out`; `caches` are those in it, and `links` these caches' symbolic links.
    Of `outdated` ones, no later job needs the layers.
    """

    def __init__(
        self, site: SharedResources, assignment: Assignment, name: str, labels: Mapping[str, str], *, opened: bool
    ) -> None:
        self.view: View | None = None
        self.caches: list[Base] = []
        self.links: list[str] = []
        self.outdated: list[Base] = []
        self._keys: dict[int, str] = {}  # of the caches' layers, by the caches' index
        self._site = site
        self._attempt = assignment.attempt
        self._name = name
        self._own_labels = labels
        self._path = posixpath.normpath(assignment.project_dir)
        self._opened = opened

    def lay_out(self, checkout: Checkout | None, found: Sequence[Found], image: Image, user: str) -> None:
        """Makes a view of the checkout and of the caches `found`, if that is the better way, for the image's `user`.

        Raises JobFailed, EngineError, EngineUnavailable, BadArchive, OSError.
        """
        self.view, self.caches, self.links = None, [], []
        if self.is_operators:
            return
        names = checkout.names if checkout else frozenset
        above = found if can_be_layers([one.cached for one in found], names) else ()
        if not above and (checkout is None or checkout.size < VIEW_BYTES):
            return
        if not self._site.overlays.work(image.id):
            return
        owner = self._site.users.owner(image.id, user)
        layers = list(checkout.layers(owner, opened=self._opened)) if checkout else []
        for one in above:
            if note := one.cached.note:
                layers.append(layer_of(one.cached, note, owner, opened=self._opened))
                self._keys[one.index] = layers[-1].key
                self.links += note.links
        held = self._site.layers.hold(self._attempt, layers, owner, image.id)
        try:
            self.view = make_view(self._site.engine, self._name, self._own_labels, held)
        except OtherLayers:
            self._site.sweeper.discard(self._attempt)
            self.view = make_view(self._site.engine, self._name, self._own_labels, held)
        if self.view:
            self.caches = bases_of(above)

    @property
    def is_operators(self) -> bool:
        """Whether the operator has mounted a volume of their own there."""
        path = self._path
        mounted = (posixpath.normpath(volume.split(":")[1]) for volume in self._site.policy.volumes)
        return any(path == place or path.startswith(place.rstrip("/") + "/") for place in mounted)

    def adopt(self, labels: Mapping[str, str]) -> None:
        """Takes over a view from an earlier daemon; `labels` are its container's."""
        if layers := layers_of(labels):
            self.view = View(self._name, tuple(layers))
            with suppress(msgspec.MsgspecError):
                self.caches = from_json(labels.get(CACHES, ""), list[Base])

    @property
    def binds(self) -> Sequence[str]:
        """The directory's volume in the attempt's containers. It hides what an image has there, as in GitLab."""
        return [f"{self.view.volume}:{self._path}:nocopy"] if self.view else []

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels for the attempt's containers."""
        layers = ",".join(self.view.layers) if self.view else ""
        return {LAYERS: layers, CACHES: msgspec.json.encode(self.caches).decode()}

    def changes(self, container: str, image: str) -> ViewChanges | None:
        """What an ended container, made of the image with this id, has written into its view; None without one."""
        if self.view is None:
            return None
        return ViewChanges(self._site.layers.helpers, self.view.upper, container, self._path, image)

    def damage(self) -> str:
        """What others have removed of it; "" if nothing. Raises EngineError, EngineUnavailable."""
        missing = self.view.missing(self._site.engine, self._own_labels) if self.view else ""
        if not missing:
            return ""
        return (
            f"its project directory was removed from outside: the volume {missing} is gone. `docker volume prune` "
            f"removes volumes of running jobs, unless with --filter label!={COORDINATOR}"
        )

    def remove(self) -> None:
        """Removes it, after its containers. Raises EngineError, EngineUnavailable."""
        if self.view:
            self.view.remove(self._site.engine)
        self.release()

    def release(self) -> None:
        """Its containers are gone: the layers may be evicted."""
        self._site.layers.release(self._attempt)
        if keys := {self._keys[base.index] for base in self.outdated if base.index in self._keys}:
            run_in_background(self._site.layers.discard, keys)
