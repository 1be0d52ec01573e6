"""Passes a small workspace in its container's environment; the container unpacks it before its gate. Knows no jobs.

The engine unpacks an archive in a separate process: 38 ms of CPU time, however small it is, a sixth of a short job's
total. The image's own `tar` takes 3. Workspaces that are not small and plain go through the engine, as does the first
workspace for an image that was not checked yet.
"""

from __future__ import annotations

import base64
import contextlib
import io
import tarfile
from collections import OrderedDict
from pathlib import Path
from threading import Lock

import msgspec

from daemon.executors.common import archives
from daemon.executors.common.archives import Place
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.images import Image
from daemon.tar_stream import BLOCK, ROOT
from protocol.decoders import from_json
from protocol.files import replace_file

MOST_BYTES = 64 << 10
"""Limit of the tar's size. Its text must stay below the 128 KiB that Linux allows in one string of an environment."""
MOST_PACKED = 16
"""Limit of remembered texts: those of the runs in progress."""
MOST_KNOWN = 500
"""Limit of remembered images."""
PROGRAMS = ("tar", "base64")
DIRECTORIES = ("/bin", "/usr/bin")
"""Directories that `entry.sh` searches for the programs: the job may have its own PATH."""


def packed(workspace: Path, *, opened: bool) -> str | None:
    """The text of a tar that is small and that any `tar` can unpack, otherwise None. `opened`: see `archives.joined`.

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
    """Small workspaces as text, and the images that can unpack them. Thread-safe; `directory` keeps earlier results."""

    def __init__(self, engine: DockerClient, directory: Path) -> None:
        self._engine = engine
        self._file = directory / "unpackers.json"
        self._known: dict[str, bool] = {}
        self._packed: OrderedDict[tuple[int, ...], str | None] = OrderedDict()  # by file, and whether it is opened
        self._lock = Lock()
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # absent or damaged: learn it again
            self._known = from_json(self._file.read_bytes(), dict[str, bool])

    def can(self, image: Image) -> bool:
        """Whether the image is known to have the programs."""
        return self._known.get(image.id, False)

    def text(self, workspace: Path, *, opened: bool) -> str | None:
        """See `packed`. The jobs of a run have links of one file, which is read once."""
        file = workspace.stat()
        key = (file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size, opened)
        with self._lock:
            if key in self._packed:
                self._packed.move_to_end(key)
                return self._packed[key]
        text = packed(workspace, opened=opened)
        with self._lock:
            self._packed[key] = text
            if len(self._packed) > MOST_PACKED:
                self._packed.popitem(last=False)
        return text

    def learn(self, image: Image, container: str) -> None:
        """Checks for the programs in a container of the image, once. Raises EngineError, EngineUnavailable."""
        if image.id in self._known:
            return
        found = all(
            any(self._engine.mode_of(container, f"{directory}/{program}") is not None for directory in DIRECTORIES)
            for program in PROGRAMS
        )
        newest = dict([*self._known.items(), (image.id, found)][-MOST_KNOWN:])
        self._known = newest
        with contextlib.suppress(OSError):  # a full disk: the next daemon learns it again
            replace_file(self._file, msgspec.json.encode(newest))
