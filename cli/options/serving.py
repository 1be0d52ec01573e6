"""Options of workers and coordinators, shared by every verb that starts one.

`worker` and `coordinator` take their own options; `run`, `up` and `background` start both and take both sets.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
import msgspec
from click.core import ParameterSource

from cli.options.quantities import Duration, Size
from cli.submit.variables import chosen_file
from protocol.places import settings_file

if TYPE_CHECKING:
    from cli.options.settings_files import Settings
    from coordinator.children.compiler import CompilerSettings
    from coordinator.maintenance.retention import Retention
    from coordinator.security.limits import Limits
    from daemon.settings import WorkerSettings

Command = TypeVar("Command", bound=Callable[..., Any])
SETTINGS = "longshore.settings"
"""Key in click's `Context.meta` that holds the settings read from files."""
ANY_TAG = "*"
"""Label of a worker that accepts jobs with any tags."""
TAKEOVER_SECONDS = 15.0
"""Time that such a worker waits for its predecessor, which may still be shutting down."""
OWN_WORKER = re.compile(r"local(-[0-9]+)?")
"""Names of the workers started by `run` and `up`, whichever process serves the state directory: a worker takes over
the containers of its predecessor of the same name."""


def own_worker(number: int) -> str:
    """The name of worker `number`, counted from 1."""
    return "local" if number == 1 else f"local-{number}"


class _Shared(click.Option):
    """An option shared by several verbs; `--help` lists it under the title of its section."""

    section = ""


class WorkerOption(_Shared):
    """An option of a worker."""

    section = "Worker options"


class CoordinatorOption(_Shared):
    """An option of a coordinator."""

    section = "Coordinator options"


WORKER: Sequence[WorkerOption] = (
    WorkerOption(
        ["--slots"],
        type=click.IntRange(min=1),
        metavar="N",
        envvar="LONGSHORE_SLOTS",
        help="Maximum number of concurrent jobs; default: the number of CPUs.",
    ),
    WorkerOption(
        ["--label", "labels"],
        multiple=True,
        metavar="L",
        envvar="LONGSHORE_LABEL",
        help="Label matched against the `tags` of jobs; `*` matches any. Repeatable.",
    ),
    WorkerOption(["--tagged-only"], is_flag=True, envvar="LONGSHORE_TAGGED_ONLY", help="Reject jobs without tags."),
    WorkerOption(
        ["--allow"],
        multiple=True,
        metavar="WHAT",
        envvar="LONGSHORE_ALLOW",
        help="Grant jobs a privilege: privileged, new-privileges, volume:/PATH, volume:/HOST:/PATH[:ro]. Repeatable.",
    ),
    WorkerOption(
        ["--allow-image", "images"],
        multiple=True,
        metavar="PATTERN",
        envvar="LONGSHORE_ALLOW_IMAGE",
        help="Allow only images matching this pattern, such as `alpine:*`. Repeatable.",
    ),
    WorkerOption(
        ["--pids-limit"],
        type=click.IntRange(min=1),
        metavar="N",
        envvar="LONGSHORE_PIDS_LIMIT",
        help="Maximum number of processes per container; default: 4096.",
    ),
    WorkerOption(
        ["--fresh-networks"],
        is_flag=True,
        envvar="LONGSHORE_FRESH_NETWORKS",
        help="Create a new network for every job; by default, jobs of the same image reuse one in turn.",
    ),
    WorkerOption(
        ["--cache-size", "cache_limit"],
        type=Size(),
        metavar="SIZE",
        envvar="LONGSHORE_CACHE_SIZE",
        help="Size limit of job caches, and separately of workspace and artifact copies; default: 10G each.",
    ),
    WorkerOption(
        ["--keep-caches"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_CACHES",
        help="Evict cache entries and copies unused for this long, such as 30d; default: only for lack of space.",
    ),
)
COORDINATOR: Sequence[CoordinatorOption] = (
    CoordinatorOption(
        ["--keep-runs"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_RUNS",
        help="Remove finished runs, with their logs and files, this long after they end, such as 90d; default: never.",
    ),
    CoordinatorOption(
        ["--keep-artifacts"],
        type=Duration(),
        metavar="DURATION",
        envvar="LONGSHORE_KEEP_ARTIFACTS",
        help="Remove artifacts this long after their job ends, unless the job sets less; default: with the run.",
    ),
    CoordinatorOption(
        ["--keep-size"],
        type=Size(),
        metavar="SIZE",
        envvar="LONGSHORE_KEEP_SIZE",
        help="Remove the oldest finished runs when logs and files exceed this size, such as 20G; default: no limit.",
    ),
    CoordinatorOption(
        ["--limit", "limits"],
        multiple=True,
        metavar="NAME=N",
        envvar="LONGSHORE_LIMIT",
        help="Override a limit per peer or project. Repeatable.",
    ),
    CoordinatorOption(
        ["--child-includes"],
        type=click.Choice(["none", "public", "own"]),
        envvar="LONGSHORE_CHILD_INCLUDES",
        help="Includes of other projects that child pipelines may fetch: none, public ones, or all that this user may "
        "read; default: own for `run`, else public.",
    ),
    CoordinatorOption(
        ["--web-url"],
        metavar="URL",
        envvar="LONGSHORE_WEB_URL",
        help="Address of this coordinator's pages, to link runs in commit statuses and messages; default: no links.",
    ),
)


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the options in WORKER, in seconds and bytes. None selects the worker's own default."""

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
        """Raises UsageError for an unknown permission."""
        if self.allow:
            from daemon.executors.policy import PIDS, make_policy

            make_policy("worker", self.allow, self.images, self.pids_limit or PIDS)

    def settings(self, **own: Any) -> WorkerSettings:
        """Worker settings from these options, completed by `own` settings that no option covers."""
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
        """Command-line arguments that pass these options to another process."""
        return _arguments(WORKER, self)


class CoordinatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the options in COORDINATOR, in seconds and bytes. None means no limit."""

    keep_runs: float | None = None
    keep_artifacts: float | None = None
    keep_size: int | None = None
    limits: tuple[str, ...] = ()
    child_includes: Literal["none", "public", "own"] | None = None
    web_url: str | None = None

    @property
    def retention(self) -> Retention:
        """Retention policy for finished runs."""
        from coordinator.maintenance.retention import Retention

        return Retention(runs_for=self.keep_runs, artifacts_for=self.keep_artifacts, size=self.keep_size)

    @property
    def bounds(self) -> Limits:
        """Limits per peer and per project. Raises UsageError for an unknown limit."""
        from coordinator.security.limits import parse_limits

        return parse_limits(self.limits)

    @property
    def pages(self) -> str:
        """The address of the coordinator's pages; empty without one. Raises UsageError for one that is no address."""
        from urllib.parse import urlsplit

        from protocol.errors import UsageError

        url = self.web_url or ""
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
            raise UsageError(f"--web-url: {url!r} is no address of pages; use https://HOST or https://HOST/PATH")
        return url

    def children(self, *, shared: bool) -> CompilerSettings:
        """How child pipelines are compiled; a `shared` coordinator lends nobody its user's access, unless told to."""
        from coordinator.children.compiler import CompilerSettings

        return CompilerSettings(includes=self.child_includes or ("public" if shared else "own"))

    def arguments(self) -> list[str]:
        """Command-line arguments that pass these options to another process."""
        return _arguments(COORDINATOR, self)


class Serving(msgspec.Struct, frozen=True):
    """Options of a verb that starts a coordinator and workers.

    `given` names the options set on the command line; `meant` adds those set by the environment and the project's
    file. `not_allowed` reports permissions that the project's file requests but the user has not granted. Workers
    without labels accept jobs with any tags.
    """

    worker: WorkerOptions = msgspec.field(default_factory=WorkerOptions)
    coordinator: CoordinatorOptions = msgspec.field(default_factory=CoordinatorOptions)
    given: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()
    not_allowed: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its workers."""
        return self.worker.labels or (ANY_TAG,)

    def workers(self, count: int, busy: Iterable[str]) -> dict[str, WorkerOptions]:
        """`count` workers by name, plus the `busy` ones of an earlier owner: these accept no new jobs."""
        takers = {
            own_worker(number): msgspec.structs.replace(self.worker, labels=self.labels)
            for number in range(1, count + 1)
        }
        finishing = msgspec.structs.replace(self.worker, labels=(), tagged_only=True)
        return {name: finishing for name in busy if OWN_WORKER.fullmatch(name)} | takers

    def arguments(self) -> list[str]:
        """Command-line arguments that pass these options to another process of such a verb."""
        return self.worker.arguments() + self.coordinator.arguments()


def worker_options(command: Command) -> Command:
    """Adds the WORKER options to a verb and passes them to its function as `worker`, a WorkerOptions."""

    def take(_ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
        worker = WorkerOptions(**{name: values.pop(name) for name in _names(WORKER)})
        worker.check()
        return {"worker": worker}

    return _with_options(command, WORKER, take)


def coordinator_options(command: Command) -> Command:
    """Adds the COORDINATOR options to a verb and passes them to its function as `options`, a CoordinatorOptions."""

    def take(_ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
        return {"options": CoordinatorOptions(**{name: values.pop(name) for name in _names(COORDINATOR)})}

    return _with_options(command, COORDINATOR, take)


def serving_options(command: Command) -> Command:
    """Adds both sets of options to a verb and passes them to its function as `serving`, a Serving."""

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
    """A command that reads the settings files and lists shared options in help sections of their own.

    `settings_of` is the verb whose settings apply (default: the command itself); with `in_project`, a project's own
    file applies too, that of the argument FILE or of the working directory.
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
    """The user's settings for `run`, for verbs without these options."""
    from cli.options.settings_files import settings_of

    values = settings_of("run", None).defaults()
    return Serving(
        WorkerOptions(**{name: values[name] for name in _names(WORKER) if name in values}),
        CoordinatorOptions(**{name: values[name] for name in _names(COORDINATOR) if name in values}),
    )


def _given(ctx: click.Context, source: ParameterSource) -> tuple[str, ...]:
    """Options set by `source`; of those set by settings files, only the ones from the project's own file."""
    names = [name for name in _names((*WORKER, *COORDINATOR)) if ctx.get_parameter_source(name) is source]
    if source is ParameterSource.DEFAULT_MAP:
        settings: Settings = ctx.meta[SETTINGS]
        names = [name for name in names if settings.values[name].of_project]
    return tuple(option.opts[0] for option in (*WORKER, *COORDINATOR) if option.name in names)


def _not_allowed(ctx: click.Context, worker: WorkerOptions) -> str | None:
    """Reports permissions that a project's file requests and the user has not granted; only the user can grant them."""
    settings: Settings | None = ctx.meta.get(SETTINGS)
    if settings is None or settings.asked_by is None:
        return None
    missing = [what for what in settings.asked if what not in worker.allow]
    if not missing:
        return None
    options = " ".join(f"--allow {shlex.quote(what)}" for what in missing)
    return (
        f"{settings.asked_by} requests {options}; only you can grant that, with the option or in {settings_file()} for "
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
