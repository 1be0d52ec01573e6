"""The options of the verbs that serve: what a worker and a coordinator take, wherever they run.

`worker` and `coordinator` take them, and so does each verb that brings both along: `run`, `up` and `background`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from cli.options.quantities import Duration, Size
from cli.submit.variables import chosen_file
from protocol.places import settings_file

if TYPE_CHECKING:
    from cli.options.settings_files import Settings
    from coordinator.maintenance.retention import Retention
    from coordinator.security.limits import Limits
    from daemon.settings import WorkerSettings

Command = TypeVar("Command", bound=Callable[..., Any])
SETTINGS = "longshore.settings"
"""Where a context of click keeps what the settings files say."""
ANY_TAG = "*"
"""The label of a worker that takes jobs of any tags."""
TAKEOVER_SECONDS = 15.0
"""How long such a worker waits for the one before it, which may still be leaving."""
OWN_WORKER = re.compile(r"local(-[0-9]+)?")
"""What the workers that `run` and `up` bring are called, whichever process serves the state directory: a worker takes
the containers of its name over."""


def own_worker(number: int) -> str:
    """The name of the worker of that number, from 1 on."""
    return "local" if number == 1 else f"local-{number}"


class _Shared(click.Option):
    """An option that several verbs take; `--help` shows it below the title of its section."""

    section = ""


class WorkerOption(_Shared):
    """What somebody may set of a worker."""

    section = "Options of the worker"


class CoordinatorOption(_Shared):
    """What somebody may set of a coordinator."""

    section = "Options of the coordinator"


WORKER: Sequence[WorkerOption] = (
    WorkerOption(
        ["--slots"],
        type=click.IntRange(min=1),
        envvar="LONGSHORE_SLOTS",
        help="Jobs to run at a time; default: the number of CPUs.",
    ),
    WorkerOption(
        ["--label", "labels"],
        multiple=True,
        metavar="L",
        envvar="LONGSHORE_LABEL",
        help="A tag that jobs can ask for, `*`: any. May be repeated.",
    ),
    WorkerOption(
        ["--tagged-only"], is_flag=True, envvar="LONGSHORE_TAGGED_ONLY", help="Take no jobs that have no tags."
    ),
    WorkerOption(
        ["--allow"],
        multiple=True,
        metavar="WHAT",
        envvar="LONGSHORE_ALLOW",
        help="What jobs may do beyond their containers: privileged, new-privileges, volume:/PATH, "
        "volume:/HOST:/PATH[:ro].",
    ),
    WorkerOption(
        ["--allow-image", "images"],
        multiple=True,
        metavar="PATTERN",
        envvar="LONGSHORE_ALLOW_IMAGE",
        help="Run only such images, as `alpine:*`.",
    ),
    WorkerOption(
        ["--pids-limit"],
        type=click.IntRange(min=1),
        envvar="LONGSHORE_PIDS_LIMIT",
        help="Processes that a container may have; default: 4096.",
    ),
    WorkerOption(
        ["--fresh-networks"],
        is_flag=True,
        envvar="LONGSHORE_FRESH_NETWORKS",
        help="Make each job a network of its own; else jobs of one image take turns in one.",
    ),
    WorkerOption(
        ["--cache-size", "cache_limit"],
        type=Size(),
        metavar="SIZE",
        envvar="LONGSHORE_CACHE_SIZE",
        help="What jobs' caches may take, and again as much copies of workspaces and artifacts; default: 10G each.",
    ),
    WorkerOption(
        ["--keep-caches"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_CACHES",
        help="Remove from both what was not used for so long (30 days); default: only when there is no room.",
    ),
)
COORDINATOR: Sequence[CoordinatorOption] = (
    CoordinatorOption(
        ["--keep-runs"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_RUNS",
        help="Remove finished runs, with their logs and files, so long after their end (90 days); default: never.",
    ),
    CoordinatorOption(
        ["--keep-artifacts"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_ARTIFACTS",
        help="Remove artifacts so long after their job, unless it says less itself; default: with their run.",
    ),
    CoordinatorOption(
        ["--keep-size"],
        type=Size(),
        metavar="SIZE",
        envvar="LONGSHORE_KEEP_SIZE",
        help="Remove the oldest finished runs when logs and files take more than this (20G); default: no limit.",
    ),
    CoordinatorOption(
        ["--limit", "limits"],
        multiple=True,
        metavar="NAME=N",
        envvar="LONGSHORE_LIMIT",
        help="A bound on what one peer or project may ask.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The values of WORKER. None: the worker's own default. Seconds and bytes."""

    slots: int | None = None
    labels: tuple[str, ...] = ()
    tagged_only: bool = False
    allow: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    pids_limit: int | None = None
    fresh_networks: bool = False
    cache_limit: int | None = None
    keep_caches: float | None = None

    def check(self) -> None:
        """Raises UsageError for an allowance that there is not."""
        if self.allow:
            from daemon.executors.policy import PIDS, make_policy

            make_policy("worker", self.allow, self.images, self.pids_limit or PIDS)

    def settings(self, **own: Any) -> WorkerSettings:
        """The settings of a worker with these options, and with `own` ones that no option gives."""
        from daemon.settings import WorkerSettings

        given = {"slots": self.slots, "pids_limit": self.pids_limit, "cache_limit": self.cache_limit}
        chosen = {key: value for key, value in given.items() if value is not None}
        return WorkerSettings(
            **(own | chosen),
            labels=self.labels,
            run_untagged=not self.tagged_only,
            allow=self.allow,
            allow_images=self.images,
            keep_caches=self.keep_caches,
            reuse_networks=not self.fresh_networks,
        )

    def arguments(self) -> list[str]:
        """What gives these options to another process."""
        return _arguments(WORKER, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorOptions:
    """The values of COORDINATOR. Seconds and bytes; None: no bound."""

    keep_runs: float | None = None
    keep_artifacts: float | None = None
    keep_size: int | None = None
    limits: tuple[str, ...] = ()

    @property
    def retention(self) -> Retention:
        """What is kept of finished runs."""
        from coordinator.maintenance.retention import Retention

        return Retention(runs_for=self.keep_runs, artifacts_for=self.keep_artifacts, size=self.keep_size)

    @property
    def bounds(self) -> Limits:
        """What one peer or project may ask. Raises UsageError for a limit that there is not."""
        from coordinator.security.limits import parse_limits

        return parse_limits(self.limits)

    def arguments(self) -> list[str]:
        """What gives these options to another process."""
        return _arguments(COORDINATOR, self)


@dataclass(frozen=True, slots=True)
class Serving:
    """The options of a verb that brings a coordinator and workers.

    `given` are the names of those on its command line, `meant` also those of its environment and its project.
    `not_allowed` says what its project asks for in vain. Without labels its workers take jobs of any tags.
    """

    worker: WorkerOptions = field(default_factory=WorkerOptions)
    coordinator: CoordinatorOptions = field(default_factory=CoordinatorOptions)
    given: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()
    not_allowed: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its workers."""
        return self.worker.labels or (ANY_TAG,)

    def workers(self, count: int, busy: Iterable[str]) -> dict[str, WorkerOptions]:
        """So many workers by name, and those of its kind that were `busy` before: these take nothing new."""
        takers = {own_worker(number): replace(self.worker, labels=self.labels) for number in range(1, count + 1)}
        finishing = replace(self.worker, labels=(), tagged_only=True)
        return {name: finishing for name in busy if OWN_WORKER.fullmatch(name)} | takers

    def arguments(self) -> list[str]:
        """What gives these options to another process of such a verb."""
        return self.worker.arguments() + self.coordinator.arguments()


def worker_options(command: Command) -> Command:
    """Gives a verb the options WORKER, and its function a WorkerOptions as `worker`."""

    def take(_ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
        worker = WorkerOptions(**{name: values.pop(name) for name in _names(WORKER)})
        worker.check()
        return {"worker": worker}

    return _with_options(command, WORKER, take)


def coordinator_options(command: Command) -> Command:
    """Gives a verb the options COORDINATOR, and its function a CoordinatorOptions as `options`."""

    def take(_ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
        return {"options": CoordinatorOptions(**{name: values.pop(name) for name in _names(COORDINATOR)})}

    return _with_options(command, COORDINATOR, take)


def serving_options(command: Command) -> Command:
    """Gives a verb the options of both, and its function a Serving as `serving`."""

    def take(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
        worker = WorkerOptions(**{name: values.pop(name) for name in _names(WORKER)})
        coordinator = CoordinatorOptions(**{name: values.pop(name) for name in _names(COORDINATOR)})
        worker.check()
        if coordinator.limits:
            _ = coordinator.bounds
        given = _given(ctx, ParameterSource.COMMANDLINE)
        meant = given + _given(ctx, ParameterSource.ENVIRONMENT) + _given(ctx, ParameterSource.DEFAULT_MAP)
        return {"serving": Serving(worker, coordinator, given, meant, _not_allowed(ctx, worker))}

    return _with_options(command, (*WORKER, *COORDINATOR), take)


class ServingCommand(click.Command):
    """A command that the settings files hold for, and whose help shows shared options apart from its own.

    `settings_of` is the verb whose settings it takes, itself unless given; `in_project`: a project's own count too,
    that of the argument FILE or of the working directory.
    """

    def __init__(self, *args: Any, settings_of: str | None = None, in_project: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self._settings_of = settings_of or self.name or ""
        self._in_project = in_project

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command."""
        if not ctx.resilient_parsing and not set(args) & set(ctx.help_option_names):
            from cli.options.settings_files import settings_of

            folder = None
            if self._in_project:
                file = self.make_parser(ctx).parse_args(list(args))[0].get("file")
                folder = chosen_file(Path(file) if isinstance(file, str) else None).parent
            settings = settings_of(self._settings_of, folder)
            names = {parameter.name for parameter in self.params}
            ctx.default_map = {name: value for name, value in settings.defaults().items() if name in names}
            ctx.meta[SETTINGS] = settings
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Command."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title in sorted(sections, key=lambda title: title != "Options"):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def default_serving() -> Serving:
    """What the user's settings file says for `run`, for a verb that takes none of its options."""
    from cli.options.settings_files import settings_of

    values = settings_of("run", None).defaults()
    return Serving(
        WorkerOptions(**{name: values[name] for name in _names(WORKER) if name in values}),
        CoordinatorOptions(**{name: values[name] for name in _names(COORDINATOR) if name in values}),
    )


def _given(ctx: click.Context, source: ParameterSource) -> tuple[str, ...]:
    """The options that come from there; of those that come from files, the ones of the project's own file."""
    names = [name for name in _names((*WORKER, *COORDINATOR)) if ctx.get_parameter_source(name) is source]
    if source is ParameterSource.DEFAULT_MAP:
        settings: Settings = ctx.meta[SETTINGS]
        names = [name for name in names if settings.values[name].of_project]
    return tuple(option.opts[0] for option in (*WORKER, *COORDINATOR) if option.name in names)


def _not_allowed(ctx: click.Context, worker: WorkerOptions) -> str | None:
    """What a project's file asks for and nobody allows: only who runs its jobs can."""
    settings: Settings | None = ctx.meta.get(SETTINGS)
    if settings is None or settings.asked_by is None:
        return None
    missing = [what for what in settings.asked if what not in worker.allow]
    if not missing:
        return None
    options = " ".join(f"--allow {shlex.quote(what)}" for what in missing)
    return (
        f"{settings.asked_by} asks for {options}; only you can allow that, by the option, or in {settings_file()} for "
        f"this project: [projects.{json.dumps(str(settings.asked_by.parent))}.worker]"
    )


def _names(options: Sequence[click.Option]) -> list[str]:
    return [option.name for option in options if option.name]


def _with_options(
    command: Command,
    options: Sequence[click.Option],
    take: Callable[[click.Context, dict[str, Any]], dict[str, Any]],
) -> Command:
    @click.pass_context
    def wrapped(ctx: click.Context, /, *args: Any, **values: Any) -> Any:
        return ctx.invoke(command, *args, **take(ctx, values), **values)

    wrapped.__name__ = command.__name__
    wrapped.__doc__ = command.__doc__
    own = getattr(command, "__click_params__", [])
    wrapped.__click_params__ = [*own, *reversed(options)]  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


def _arguments(options: Sequence[click.Option], values: object) -> list[str]:
    arguments: list[str] = []
    for option in options:
        value = getattr(values, option.name or "")
        if value is None or value is False:
            continue
        if option.is_flag:
            arguments.append(option.opts[0])
            continue
        for each in value if option.multiple else (value,):
            arguments += [option.opts[0], f"{each} seconds" if isinstance(option.type, Duration) else str(each)]
    return arguments
