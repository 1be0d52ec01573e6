"""A small workspace in its container's environment, where the container unpacks it before its gate. Knows no jobs.

The engine unpacks an archive into a container by a process of its own: 38 ms of CPU time however small it is, a sixth
of all that a short job costs. The image's own `tar` takes 3. What is not small and plain goes the engine's way, and so
does the first workspace for an image that was not looked at yet.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tarfile
import threading
from pathlib import Path

import msgspec

from daemon.executors.common import archives
from daemon.executors.common.archives import BLOCK, ROOT, Place
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.images import Image

MOST_BYTES = 64 << 10
"""Of the tar. Its text has to stay below the 128 KiB that Linux takes in one string of an environment."""
MOST_KNOWN = 500
"""Images that are remembered."""
PROGRAMS = ("tar", "base64")
DIRECTORIES = ("/bin", "/usr/bin")
"""Where `entry.sh` looks for them: the job may have a PATH of its own."""


def packed(workspace: Path, *, opened: bool) -> str | None:
    """The text of a tar that is small, and that any `tar` can unpack; else None. `opened`: see `archives.joined`.

    Raises BadArchive, OSError.
    """
    data = bytearray()
    place = Place(ROOT, opened=opened)
    for piece in archives.joined([workspace], place):
        data += piece
        if len(data) > MOST_BYTES:
            return None
    if place.leaving:
        return None
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            if member.offset_data - member.offset != BLOCK or member.uid or member.gid:
                return None
    return base64.b64encode(data).decode()


class InlineWorkspaces:
    """Which images can be trusted to unpack a workspace. Thread-safe; `directory` has what was learnt before."""

    def __init__(self, engine: DockerClient, directory: Path) -> None:
        self._engine = engine
        self._file = directory / "unpackers.json"
        self._known: dict[str, bool] = {}
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # none yet, or damaged: then it is learnt again
            self._known = msgspec.json.decode(self._file.read_bytes(), type=dict[str, bool])

    def can(self, image: Image) -> bool:
        """Whether it is known to have the programs."""
        return self._known.get(image.id, False)

    def learn(self, image: Image, container: str) -> None:
        """Looks for the programs in a container of the image, once. Raises EngineError, EngineUnavailable."""
        if image.id in self._known:
            return
        found = all(
            any(self._engine.has_file(container, f"{directory}/{program}") for directory in DIRECTORIES)
            for program in PROGRAMS
        )
        newest = dict([*self._known.items(), (image.id, found)][-MOST_KNOWN:])
        self._known = newest
        partial = self._file.with_name(f"{self._file.name}.{os.getpid()}.{threading.get_ident()}.part")
        with contextlib.suppress(OSError):  # a full disk: the next daemon learns it again
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(newest))
            partial.replace(self._file)
