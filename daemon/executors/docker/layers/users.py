"""Numeric users of images, for files that exist before their containers."""

from __future__ import annotations

from threading import Lock

from daemon.executors.docker.container_user import is_root, owner_of
from daemon.executors.docker.layers.helper import Helpers
from daemon.tar_stream import ROOT, Owner


class ImageUsers:
    """Finds images' users before there is a container. Thread-safe."""

    def __init__(self, helpers: Helpers) -> None:
        self._helpers = helpers
        self._lock = Lock()
        self._known: dict[tuple[str, str], Owner] = {}

    def owner(self, image: str, user: str) -> Owner:
        """The numeric `user` in an image with this id. Raises EngineError, EngineUnavailable."""
        if is_root(user):
            return ROOT
        with self._lock:
            known = self._known.get((image, user))
        if known is None:
            with self._helpers.making() as name, self._helpers.container(name, image) as container:
                known = owner_of(self._helpers.engine, container, user)
            with self._lock:
                self._known[image, user] = known
        return known
