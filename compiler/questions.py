"""Questions to the fetcher and its replies: what a confined compilation asks of other projects."""

from __future__ import annotations

import os
from typing import BinaryIO

import msgspec

from pipeline.includes.records import Pin, Provenance

LENGTH_BYTES = 4
LARGEST = 256 << 20
"""Maximum size in bytes of a message: the names of all files of a project."""


class Project(msgspec.Struct, frozen=True, tag=True):
    """Opens a project. Answer: Opened."""

    name: str
    ref: str | None


class TemplateAt(msgspec.Struct, frozen=True, tag=True):
    """Opens GitLab's templates. Answer: Opened."""

    path: str


class ComponentOf(msgspec.Struct, frozen=True, tag=True):
    """Opens a component's project. Answer: Opened, with the version as its `detail`."""

    host: str
    name: str
    version: str
    own_host: str


class Remote(msgspec.Struct, frozen=True, tag=True):
    """Opens a URL. Answer: Opened, with the file's path as its `detail`."""

    url: str
    integrity: str
    max_age: float


class Names(msgspec.Struct, frozen=True, tag=True):
    """Lists the files of a source. Answer: Listed."""

    source: int


class Read(msgspec.Struct, frozen=True, tag=True):
    """Reads a file of a source. Answer: Content."""

    source: int
    path: str


class Prefetch(msgspec.Struct, frozen=True, tag=True):
    """Announces files that are read next. Answer: Content, without data."""

    source: int
    paths: list[str]


class Lock(msgspec.Struct, frozen=True, tag=True):
    """Holds all that is opened later to the versions of a lock file; what it lacks is fetched only if `open`. Answer:
    Content, without data.
    """

    pins: dict[str, Pin]
    file: str
    open: bool


class Opened(msgspec.Struct, frozen=True, tag=True):
    """A source, by its number."""

    source: int
    label: str
    provenance: Provenance
    detail: str = ""


class Listed(msgspec.Struct, frozen=True, tag=True):
    """Names of files."""

    files: list[str]


class Content(msgspec.Struct, frozen=True, tag=True):
    """A file's content; None if it does not exist."""

    data: bytes | None = None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The problem, as `LongshoreError` says it."""

    problem: str


Question = Project | TemplateAt | ComponentOf | Remote | Names | Read | Prefetch | Lock
Reply = Opened | Listed | Content | Refused


class Channel:
    """One end of two pipes with messages, each after its length."""

    def __init__(self, reading: int, writing: int) -> None:
        self._from: BinaryIO = os.fdopen(reading, "rb")
        self._to: BinaryIO = os.fdopen(writing, "wb")

    def send(self, message: msgspec.Struct) -> None:
        """Sends a message. Raises BrokenPipeError."""
        data = msgspec.msgpack.encode(message)
        self._to.write(len(data).to_bytes(LENGTH_BYTES, "big") + data)
        self._to.flush()

    def receive(self) -> bytes:
        """The next message; empty at the end."""
        length = int.from_bytes(self._from.read(LENGTH_BYTES), "big")
        data = self._from.read(length) if 0 < length <= LARGEST else b""
        return data if len(data) == length else b""
