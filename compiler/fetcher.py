"""Fetches other projects' files for a confined compilation, in a process beside it: that one has the network and reads
no pipeline, this one reads pipelines and has no network. They talk over two pipes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

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
from pipeline.includes.cached_project import Freshness
from pipeline.includes.fetching import GITLAB, Fetching, OtherProjects, Templates, parse_templates
from pipeline.includes.servers import Server, named_server, server_of
from pipeline.includes.sources import Source, is_mapped
from pipeline.includes.urls import printable_url
from protocol.compilation import Includes
from protocol.decoders import from_msgpack
from protocol.errors import LongshoreError
from protocol.plan import IncludeOptions


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
                serve(channel, known, own_access=includes.own_access)
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

    Without `own_access`, what only the coordinator's user may read stays closed: directories of this host, servers that
    want a key or a password; a server that is known by SSH is asked by HTTPS. `include:remote` reaches no loopback or
    link-local address then; a git server is asked wherever it is, also in the coordinator's own network. Raises
    LongshoreError.
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
    return OtherProjects(None, {name: Path(folder) for name, folder in options.projects.items()}, fetching)


def _public(server: Server | None) -> Server | None:
    """The server as anyone reaches it; None if only the coordinator's user does."""
    if server is None or server.folder is not None:
        return None
    return server if server.prefix.startswith(("http://", "https://")) else Server(f"https://{server.host}/")


def refuse(channel: Channel, problem: str) -> None:
    """Answers all questions with a problem."""
    while channel.receive():
        channel.send(Refused(problem))


def serve(channel: Channel, projects: OtherProjects, *, own_access: bool) -> None:
    """Answers questions until the other end is closed; without `own_access`, directories are not read."""
    sources: list[Source] = []
    while data := channel.receive():
        question: Question = from_msgpack(data, Question)  # type: ignore[arg-type]
        try:
            if not own_access:
                _check_mapped(question, projects.mapped)
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


def _check_mapped(question: Question, mapped: Mapping[str, Path]) -> None:
    """Refuses a project that the user has named a directory for: another version would come from the server.

    Raises LongshoreError.
    """
    match question:
        case Project() | ComponentOf():
            name = question.name
        case TemplateAt():
            name = GITLAB
        case Remote():
            name = question.url
        case _:
            return
    if is_mapped(name, mapped):
        raise LongshoreError(
            f"{printable_url(name) if '://' in name else name} is a directory of yours (--project), "
            "and this coordinator reads none for child pipelines"
        )


def _check_server(question: Question, projects: OtherProjects) -> None:
    """Refuses to look for projects on the server of `origin` if there is none. Raises LongshoreError."""
    match question:
        case Project(name=name):
            pass
        case ComponentOf(host=host, name=name, own_host=own_host) if host == own_host:
            pass
        case _:
            return
    if projects.fetching is None or projects.fetching.server is not None or is_mapped(name, projects.mapped):
        return
    raise LongshoreError(
        "projects beside this one can't be fetched: its remote `origin` is no server that the coordinator may ask"
    )
