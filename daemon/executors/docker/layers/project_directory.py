"""A job's project directory: decides whether it is a view of shared layers, or a copy of the checkout.

A view costs the same for any size (create and remove three volumes); a copy is cheaper for a small checkout, and the
only way where the engine can't mount overlays, or where the operator's own volume is mounted there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from daemon.executors.base import Checkout
from daemon.executors.docker.belongings import LAYERS, layers_of
from daemon.executors.docker.images import Image
from daemon.executors.docker.layers.view import OtherLayers, View, make_view
from daemon.executors.docker.shared import SharedResources

VIEW_BYTES = 2 << 20
"""Size of a checkout from which on a view is cheaper than a copy."""


class ProjectDirectory:
    """One attempt's. `name` is its container's; `labels` are those of the attempt's objects, `path` is in containers.

    `view` is None for a copy, or before `lay_out`.
    """

    def __init__(
        self, site: SharedResources, attempt: str, name: str, labels: Mapping[str, str], path: str, *, opened: bool
    ) -> None:
        self.view: View | None = None
        self._site = site
        self._attempt = attempt
        self._name = name
        self._own_labels = labels
        self._path = path
        self._opened = opened

    def lay_out(self, checkout: Checkout | None, image: Image, user: str) -> None:
        """Makes a view of the checkout, if that is the better way, for the image's `user`.

        Raises JobFailed, EngineError, EngineUnavailable, BadArchive, OSError.
        """
        self.view = None
        if checkout is None or checkout.size < VIEW_BYTES or self.is_operators:
            return
        if not self._site.overlays.work(image.id):
            return
        owner = self._site.users.owner(image.id, user)
        layers = checkout.layers(owner, opened=self._opened)
        held = self._site.layers.hold(self._attempt, layers, owner, image.id)
        try:
            self.view = make_view(self._site.engine, self._name, self._own_labels, held)
        except OtherLayers:
            self._site.sweeper.discard(self._attempt)
            self.view = make_view(self._site.engine, self._name, self._own_labels, held)

    @property
    def is_operators(self) -> bool:
        """Whether the operator has mounted a volume of their own there."""
        path = posixpath.normpath(self._path)
        mounted = (posixpath.normpath(volume.split(":")[1]) for volume in self._site.policy.volumes)
        return any(path == place or path.startswith(place.rstrip("/") + "/") for place in mounted)

    def adopt(self, labels: Mapping[str, str]) -> None:
        """Takes over a view from an earlier daemon; `labels` are its container's."""
        if layers := layers_of(labels):
            self.view = View(self._name, tuple(layers))

    @property
    def binds(self) -> Sequence[str]:
        """The directory's volume in the attempt's containers. It hides what an image has there, as in GitLab."""
        return [f"{self.view.volume}:{self._path}:nocopy"] if self.view else []

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels for the attempt's containers."""
        return {LAYERS: ",".join(self.view.layers) if self.view else ""}

    def damage(self) -> str:
        """What others have removed of it; "" if nothing. Raises EngineError, EngineUnavailable."""
        missing = self.view.missing(self._site.engine, self._own_labels) if self.view else ""
        return f"its project directory was removed from outside: the volume {missing} is gone" if missing else ""

    def remove(self) -> None:
        """Removes it, after its containers. Raises EngineError, EngineUnavailable."""
        if self.view:
            self.view.remove(self._site.engine)
        self.release()

    def release(self) -> None:
        """Its containers are gone: the layers may be evicted."""
        self._site.layers.release(self._attempt)
