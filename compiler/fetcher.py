"""Fetches other projects' files for a confined compilation, in a process beside it: that one has the network and reads
no pipeline, this one reads pipelines and has no network. They talk over two pipes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from pipeline.includes.cached_project import Freshness
from pipeline.includes.fetching import Component, Fetching, OtherProjects, Templates, parse_templates
from pipeline.includes.records import Pin, Provenance
from pipeline.includes.servers import Server, named_server, server_of
from pipeline.includes.sources import Source
from protocol.compilation import Includes
from protocol.decoders import from_msgpack
from protocol.errors import LongshoreError
from protocol.names import OBJECT_ID
from protocol.plan import IncludeOptions

LENGTH_BYTES = 4
LARGEST = 256 << 20
"""Maximum size in bytes of a message: the names of all files of a project."""
NOT_FETCHED = "this coordinator fetches no includes of child pipelines from other projects"
T = TypeVar("T")


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


def start(includes: Includes, cache: Path, origin: str, options: IncludeOptions) -> Channel:
    """Forks a fetcher: before this process is confined, since what it starts is confined too. It has no threads yet.

    The fetcher ends with this process, in whose process group it and its programs stay.
    """
    asked, answered = os.pipe(), os.pipe()
    if os.fork() == 0:
        try:
            os.close(asked[1])
            os.close(answered[0])
            os.environ.clear()
            os.environ.update(environment_of(includes.environment))
            channel = Channel(asked[0], answered[1])
            try:
                known = projects(cache, origin, options, own_access=includes.own_access)
            except LongshoreError as error:
                refuse(channel, str(error))
            else:
                serve(channel, known)
        finally:
            os._exit(0)
    os.close(asked[0])
    os.close(answered[1])
    os.close(includes.environment)
    return Channel(answered[0], asked[1])


def environment_of(descriptor: int) -> dict[str, str]:
    """The fetcher's environment, which may have secrets: it comes in a file that the confined process never reads."""
    with os.fdopen(descriptor, "rb") as file:
        return from_msgpack(file.read(), dict[str, str])


def projects(cache: Path, origin: str, options: IncludeOptions, *, own_access: bool) -> OtherProjects:
    """Other projects of the server that `options` name, else of that of `origin`, as the coordinator allows.

    Without `own_access`, the coordinator's user opens no door that is closed to others: no directory of this host, no
    address of its network's own, no SSH key; a server that is known by SSH is asked by HTTPS. Raises LongshoreError.
    """
    templates = parse_templates(options.templates) if options.templates else Templates()
    # The coordinator kills the process group.
    fetching = Fetching(
        templates=templates,
        cache=None if own_access else cache,
        freshness=Freshness(offline=options.offline),
        allow_local=options.allow_local and own_access,
        same_group=True,
    )
    server = named_server(options.server) if options.server else server_of(origin, Path("/")) if origin else None
    if own_access:
        fetching.server = server
    else:
        fetching.server = _public(server)
        if templates.address and _public(named_server(templates.address)) is None:
            raise LongshoreError(f"templates at {templates.address} are of no server that the coordinator may ask")
    return OtherProjects(None, {}, fetching)


def _public(server: Server | None) -> Server | None:
    """The server as anyone reaches it; None if only the coordinator's user does."""
    if server is None or server.folder is not None:
        return None
    return server if server.prefix.startswith(("http://", "https://")) else Server(f"https://{server.host}/")


def refuse(channel: Channel, problem: str) -> None:
    """Answers all questions with a problem."""
    while channel.receive():
        channel.send(Refused(problem))


def serve(channel: Channel, projects: OtherProjects) -> None:
    """Answers questions until the other end is closed."""
    sources: list[Source] = []
    while data := channel.receive():
        question: Question = from_msgpack(data, Question)  # type: ignore[arg-type]
        try:
            _check_server(question, projects)
            channel.send(_answer(question, projects, sources))
        except LongshoreError as error:
            channel.send(Refused(str(error)))


def _answer(question: Question, projects: OtherProjects, sources: list[Source]) -> Reply:
    detail = ""
    match question:
        case Names():
            return Listed(sources[question.source].files)
        case Read():
            return Content(sources[question.source].read(question.path))
        case Prefetch():
            sources[question.source].prefetch(question.paths)
            return Content()
        case Lock():
            if projects.fetching is not None:
                projects.fetching.locked, projects.fetching.locking = question.pins, question.open
                projects.fetching.lock_file = question.file
            return Content()
        case Project():
            source = projects.project(question.name, question.ref)
        case TemplateAt():
            source = projects.templates(question.path)
        case ComponentOf():
            source, detail = projects.component(question.host, question.name, question.version, question.own_host)
        case Remote():
            source, detail = projects.remote(question.url, question.integrity, question.max_age)
    sources.append(source)
    return Opened(len(sources) - 1, source.label, source.provenance, detail)


def _check_server(question: Question, projects: OtherProjects) -> None:
    """Refuses to look for projects on the server of `origin` if there is none. Raises LongshoreError."""
    ours = isinstance(question, Project) or (isinstance(question, ComponentOf) and question.host == question.own_host)
    if ours and projects.fetching is not None and projects.fetching.server is None:
        raise LongshoreError(
            "projects beside this one can't be fetched: its remote `origin` is no server that the coordinator may ask"
        )


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
        if self._pins is not None and origin.lock_key not in self._pins and not OBJECT_ID.fullmatch(origin.ref):
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
