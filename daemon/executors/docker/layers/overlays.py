"""Whether an engine can mount overlays of its volumes: read from its facts, then tried once per boot and noted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from daemon.executors.docker.api_client import EngineError
from daemon.executors.docker.layers.helper import MOUNT, Helpers
from protocol.clock import boot
from protocol.decoders import from_json
from protocol.errors import EngineUnavailable
from protocol.files import replace_file

OTHER_OWNERS = ("rootless", "userns", "selinux")
"""Security options of engines that change owners or labels of files, or may not mount: overlays can't be trusted."""
MOST_OPTIONS = 4000
"""Bytes of a mount's options: the kernel takes one page."""
SEPARATORS = frozenset(":,\\ \t\n")
"""Characters that a path in these options can't have."""

logger = logging.getLogger(__name__)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about an engine under a boot. `why` is the reason of a failure."""

    engine: str
    boot: str
    works: bool
    why: str = ""


def overlay(names: Mapping[str, str], lower: list[str]) -> dict[str, str] | None:
    """The driver options of a volume that shows `lower` directories, lowest first, with `upper` and `work`; None if
    the kernel would not take them. A directory that was moved is in the upper one with all its content.
    """
    paths = [*lower, names["upper"], names["work"]]
    if any(SEPARATORS & set(path) for path in paths):
        return None
    options = f"lowerdir={':'.join(reversed(lower))},upperdir={names['upper']},workdir={names['work']},redirect_dir=off"
    if len(options) > MOST_OPTIONS:
        return None
    return {"type": "overlay", "device": "overlay", "o": options}


class Overlays:
    """One engine's ability. `info` returns its facts, `file` keeps the result of a trial. Thread-safe."""

    def __init__(self, helpers: Helpers, info: Callable[[], Mapping[str, Any]], file: Path) -> None:
        self._engine = helpers.engine
        self._helpers = helpers
        self._info = info
        self._file = file
        self._lock = Lock()
        self._verdict: Verdict | None = None

    @property
    def expected(self) -> bool:
        """Whether it can, as far as known without a trial. Raises EngineError, EngineUnavailable."""
        if not self._engine.endpoint.local or not boot():
            return False
        options = " ".join(self._info().get("SecurityOptions") or ())
        if any(f"name={one}" in options for one in OTHER_OWNERS):
            return False
        verdict = self._known()
        return verdict is None or verdict.works

    def work(self, image: str) -> bool:
        """Whether it can; tries it if that is not known. `image` is the id of one on the engine.

        Raises EngineError, EngineUnavailable.
        """
        if not self.expected:
            return False
        with self._lock:
            verdict = self._known()
            if verdict is None:
                verdict = self._tried(image)
                self._note(verdict)
        return verdict.works

    def _id(self) -> str:
        return str(self._info().get("ID", ""))

    def _known(self) -> Verdict | None:
        if self._verdict is None:
            with suppress(OSError, msgspec.MsgspecError):  # absent or damaged: try it again
                self._verdict = from_json(self._file.read_bytes(), Verdict)
        verdict = self._verdict
        return verdict if verdict and (verdict.engine, verdict.boot) == (self._id(), boot()) else None

    def _note(self, verdict: Verdict) -> None:
        self._verdict = verdict
        with suppress(OSError):  # a full disk: the next daemon tries it again
            replace_file(self._file, msgspec.json.encode(verdict))

    def _tried(self, image: str) -> Verdict:
        """Mounts one, without a process: into a container that is never started."""
        verdict = partial(Verdict, engine=self._id(), boot=boot())
        with self._helpers.making() as name, ExitStack() as stack:

            def volume(what: str, options: Mapping[str, Any] | None = None) -> str:
                body = {"Name": f"{name}-{what}", "Labels": self._helpers.labels, "DriverOpts": options or {}}
                answer = self._engine.call("POST", "/volumes/create", body=body)
                stack.callback(self._remove, f"/volumes/{name}-{what}")
                return str(answer["Mountpoint"])

            lower = [volume("lower")]
            options = overlay({what: volume(what) for what in ("upper", "work")}, lower)
            if options is None:
                return verdict(works=False, why=f"its directory {lower[0]} has odd characters")
            try:
                volume("view", options)
                with self._helpers.container(name, image, [f"{name}-view:{MOUNT}:nocopy"]) as container:
                    self._engine.mode_of(container, f"{MOUNT}/.")
            except EngineError as error:
                if "no space left" in error.message:
                    raise
                logger.warning("project directories are copied for each job: Docker: %s", error.message)
                return verdict(works=False, why=error.message)
        return verdict(works=True)

    def _remove(self, path: str) -> None:
        with suppress(EngineError, EngineUnavailable):  # the sweep removes it
            self._engine.delete(path)
