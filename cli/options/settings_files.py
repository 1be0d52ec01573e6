"""Settings files of the user and the project: defaults below the command line and the environment.

A project's file comes with a repository that somebody else may have written. It chooses how its jobs run; it never
grants privileges beyond their containers, sets the retention of other projects' runs, or sets listening addresses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from cli.options.quantities import Duration, Size
from protocol.errors import UsageError
from protocol.places import settings_file

PROJECT_FILE = ".longshore.toml"
TABLES = ("run", "up", "worker", "coordinator")
PROJECTS = "projects"
"""A table in the user's own file: per project directory, tables that apply to that project only."""
SHARED = {"run": ("worker", "coordinator"), "up": ("worker", "coordinator")}
"""Tables from which a verb inherits matching settings, with lower priority than its own table."""
OF_ONE_CALL = {
    "run": {"detach", "output", "jobs", "variables", "inputs", "coordinator", "refresh", "offline"},
    "worker": {"join", "until_eof"},
    "coordinator": {"until_eof"},
}
"""Options that no file may set, by verb and name."""
OF_A_PROJECT = {
    *("default-image", "plain", "label", "tagged-only", "slots", "workers"),
    *("pids-limit", "fresh-networks", "allow-image", "allow"),
}
"""Keys allowed in a project's own file."""


class Setting(msgspec.Struct, frozen=True):
    """An option's value as written and as converted by the option's type, with its file."""

    written: Any
    value: Any
    file: Path
    of_project: bool = False


Tables = dict[str, dict[str, tuple[Any, Any]]]
"""A file's settings by table and key: as written, and as converted by the option's type."""


class Settings(msgspec.Struct):
    """One verb's settings from files, by option name; `asked` lists the permissions that a project's file requests."""

    values: dict[str, Setting] = {}
    asked: tuple[str, ...] = ()
    asked_by: Path | None = None

    def defaults(self) -> dict[str, Any]:
        """The converted values alone."""
        return {name: setting.value for name, setting in self.values.items()}


def project_root(folder: Path) -> Path:
    """The root of the repository that contains `folder`, or `folder` itself outside a repository."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


def settings_of(verb: str, folder: Path | None) -> Settings:
    """A verb's settings from files, for a project's directory if given. Raises UsageError naming file and key."""
    settings = Settings()
    own = _document(settings_file())
    root = project_root(folder) if folder is not None else None
    theirs = _document(root / PROJECT_FILE) if root is not None else None
    if own is None and theirs is None:
        return settings
    options = options_of(verb)
    projects: dict[str, Any] = {}
    if own is not None:
        projects = own.pop(PROJECTS, {})
        _take(settings, verb, options, _checked(settings_file(), own), settings_file())
        _check_projects(projects)
    if theirs is not None and root is not None:
        _take_from_project(settings, verb, options, _checked(root / PROJECT_FILE, theirs, project=True), root)
    for name, tables in projects.items():
        checked = _checked(settings_file(), tables, f"{PROJECTS}.{name!r}.")
        if root is not None and Path(name).expanduser().resolve() == root:
            _take(settings, verb, options, checked, settings_file())
    return settings


def _document(path: Path) -> dict[str, Any] | None:
    """A file's content; None if it does not exist."""
    try:
        if path.is_fifo():
            raise UsageError(f"{path}: not a regular file")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"can't read the settings in {path}: {error.strerror}") from error
    if not data:
        return None
    import tomllib  # only if there is something to parse

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{path}: invalid TOML: {error}") from error


def options_of(verb: str) -> dict[str, click.Option]:
    """The options of a verb that a file may set, by key."""
    from cli.main import cli

    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return {
        option.opts[-1].lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in OF_ONE_CALL.get(verb, ())
    }


def _checked(path: Path, document: Mapping[str, Any], place: str = "", *, project: bool = False) -> Tables:
    """The tables of a file. Raises UsageError for any error in them."""
    checked: Tables = {}
    for name, table in document.items():
        _known(path, f"{place}{name}", name, TABLES if place or project else (*TABLES, PROJECTS), "table")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {place}{name}: must be a table; write [{place}{name}] and its settings below")
        options = options_of(name)
        checked[name] = {}
        for key, value in table.items():
            where = f"{path}: [{place}{name}] {key}"
            _known(path, f"[{place}{name}] {key}", key, options, "setting")
            if project and key not in OF_A_PROJECT:
                raise UsageError(f"{where}: not allowed in a project's file; set it in {settings_file()}")
            checked[name][key] = value, _converted(where, key, options[key], value)
    return checked


def _known(path: Path, where: str, name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(names)}"
        raise UsageError(f"{path}: {where}: no such {what}; {hint}")


def _check_projects(projects: Any) -> None:
    if not isinstance(projects, dict) or not all(isinstance(tables, dict) for tables in projects.values()):
        raise UsageError(f'{settings_file()}: {PROJECTS}: write [{PROJECTS}."/path/to/project".run], and so on')


def _converted(where: str, key: str, option: click.Option, value: Any) -> Any:
    if option.multiple:
        if not isinstance(value, list):
            raise UsageError(f'{where}: must be a list; write {key} = ["...", "..."]')
        converted: Any = tuple(_one(where, key, option, each) for each in value)
    else:
        converted = _one(where, key, option, value)
    try:
        if key == "allow":
            from daemon.executors.policy import PIDS, make_policy

            make_policy("worker", converted, (), PIDS)
        elif key == "limit":
            from coordinator.security.limits import parse_limits

            parse_limits(converted)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return converted


def _one(where: str, key: str, option: click.Option, value: Any) -> Any:
    wanted: type
    if option.is_flag:
        wanted, example = bool, "true"
    elif isinstance(option.type, click.types.IntParamType):
        wanted, example = int, "4"
    else:
        wanted, example = str, '"..."'
    if isinstance(option.type, Size | Duration) and type(value) is int:
        value = str(value)
    if type(value) is not wanted:
        raise UsageError(f"{where}: {value!r} has the wrong type; write {key} = {example}")
    try:
        return value if wanted is bool else option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error


def _fitting(verb: str, options: Mapping[str, click.Option], tables: Tables) -> dict[str, tuple[Any, Any]]:
    """A verb's settings from a file's tables, by key; the verb's own table takes precedence."""
    found: dict[str, tuple[Any, Any]] = {}
    for table in (*SHARED.get(verb, ()), verb):
        found |= {key: value for key, value in tables.get(table, {}).items() if key in options}
    return found


def _take(
    settings: Settings,
    verb: str,
    options: Mapping[str, click.Option],
    tables: Tables,
    file: Path,
) -> None:
    for key, value in _fitting(verb, options, tables).items():
        settings.values[options[key].name or ""] = Setting(*value, file)


def _take_from_project(
    settings: Settings,
    verb: str,
    options: Mapping[str, click.Option],
    tables: Tables,
    root: Path,
) -> None:
    """Applies a project's settings: it may tighten the restrictions on its jobs, never loosen them."""
    from daemon.executors.policy import PIDS

    for key, (written, value) in _fitting(verb, options, tables).items():
        name = options[key].name or ""
        before = settings.values[name].value if name in settings.values else None
        if key == "allow":
            settings.asked, settings.asked_by = value, root / PROJECT_FILE
            continue
        if key == "pids-limit":
            written = value = min(value, before or PIDS)
        if (key == "fresh-networks" and not value) or (key == "allow-image" and before):
            continue
        settings.values[name] = Setting(written, value, root / PROJECT_FILE, of_project=True)
