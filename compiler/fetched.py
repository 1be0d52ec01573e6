"""Other projects, as a confined compilation sees them: through the fetcher, or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from compiler.questions import (
    Channel,
    ComponentOf,
    Content,
    Listed,
    Lock,
    Names,
    Opened,
    Prefetch,
    Project,
    Question,
    Read,
    Refused,
    Remote,
    Reply,
    TemplateAt,
)
from pipeline.includes.fetching import Component, OtherProjects
from pipeline.includes.records import Pin
from pipeline.includes.sources import Source
from protocol.decoders import from_msgpack
from protocol.errors import LongshoreError
from protocol.names import OBJECT_ID

NOT_FETCHED = "this coordinator fetches no includes of child pipelines from other projects"
T = TypeVar("T")


class NoProjects(OtherProjects):
    """Other projects of a coordinator that fetches none."""

    def __init__(self) -> None:
        super().__init__(None, {}, None)

    def project(self, name: str, ref: str | None) -> Source:
        """See OtherProjects."""
        raise LongshoreError(NOT_FETCHED)

    def templates(self, path: str) -> Source:
        """See OtherProjects."""
        raise LongshoreError(NOT_FETCHED)

    def component(self, host: str, name: str, version: str, own_host: str) -> Component:
        """See OtherProjects."""
        raise LongshoreError(NOT_FETCHED)

    def remote(self, url: str, integrity: str = "", max_age: float = 0.0) -> tuple[Source, str]:
        """See OtherProjects."""
        raise LongshoreError(NOT_FETCHED)


class FetchedProjects(OtherProjects):
    """Other projects, as the fetcher at the other end sees them."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(None, {}, None)
        self._channel = channel
        self._pins: dict[str, Pin] | None = None
        self.unlocked: dict[str, None] = {}
        """Lock keys of what was opened, and is not in the lock file."""

    def lock(self, pins: dict[str, Pin], file: str, *, open: bool) -> None:
        """Holds includes to the versions of a lock file; what it lacks is refused, unless `open`.

        Raises LongshoreError.
        """
        self._pins = pins
        asked(self._channel, Lock(pins, file, open), Content)

    def project(self, name: str, ref: str | None) -> Source:
        """See OtherProjects."""
        return self._opened(Project(name, ref))[0]

    def templates(self, path: str) -> Source:
        """See OtherProjects."""
        return self._opened(TemplateAt(path))[0]

    def component(self, host: str, name: str, version: str, own_host: str) -> Component:
        """See OtherProjects."""
        return Component(*self._opened(ComponentOf(host, name, version, own_host)))

    def remote(self, url: str, integrity: str = "", max_age: float = 0.0) -> tuple[Source, str]:
        """See OtherProjects."""
        return self._opened(Remote(url, integrity, max_age))

    def _opened(self, question: Question) -> tuple[Source, str]:
        opened = asked(self._channel, question, Opened)
        origin = opened.provenance
        if (
            self._pins is not None
            and origin.lock_key
            and origin.lock_key not in self._pins
            and not OBJECT_ID.fullmatch(origin.ref)
        ):
            self.unlocked[origin.lock_key] = None
        return FetchedSource(self._channel, opened), opened.detail


class FetchedSource:
    """The files of a source of the fetcher's."""

    def __init__(self, channel: Channel, opened: Opened) -> None:
        self.label = opened.label
        self.provenance = opened.provenance
        self._channel = channel
        self._number = opened.source

    @cached_property
    def _names(self) -> list[str]:
        return asked(self._channel, Names(self._number), Listed).files

    @property
    def files(self) -> list[str]:
        """See Source."""
        return self._names

    def read(self, path: str) -> bytes | None:
        """See Source."""
        return asked(self._channel, Read(self._number, path), Content).data

    def prefetch(self, paths: Iterable[str]) -> None:
        """See Source."""
        asked(self._channel, Prefetch(self._number, list(paths)), Content)


def asked(channel: Channel, question: Question, wanted: type[T]) -> T:
    """The fetcher's answer. Raises LongshoreError for its problem, or if it has ended."""
    try:
        channel.send(question)
        data = channel.receive()
    except BrokenPipeError:
        data = b""
    if not data:
        raise LongshoreError("is not fetched: the process that fetches includes has ended unexpectedly")
    reply: Reply = from_msgpack(data, Reply)  # type: ignore[arg-type]
    if isinstance(reply, Refused):
        raise LongshoreError(reply.problem)
    assert isinstance(reply, wanted), reply
    return reply
