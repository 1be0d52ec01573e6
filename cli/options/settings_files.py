"""The settings files: what a user's own and a project's say where command line and environment say nothing.

A project's file comes with a repository that somebody else may have written. It chooses how its jobs run, never what
they may do beyond their containers, what is kept of other projects' runs, or where anything listens.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from cli.options.quantities import Duration, Size
from protocol.errors import UsageError
from protocol.places import settings_file

PROJECT_FILE = ".longshore.toml"
TABLES = ("run", "up", "worker", "coordinator")
PROJECTS = "projects"
"""A table of the user's own file: for each project's folder, tables that hold for that project only."""
SHARED = {"run": ("worker", "coordinator"), "up": ("worker", "coordinator")}
"""Of which other tables a verb takes what fits it, below what its own table says."""
OF_ONE_CALL = {
    "run": {"detach", "as_json", "jobs", "variables", "inputs", "coordinator"},
    "worker": {"join", "until_eof"},
    "coordinator": {"until_eof"},
}
"""Options that no file may set, by verb and name."""
OF_A_PROJECT = {
    *("default-image", "plain", "label", "tagged-only", "slots", "workers"),
    *("pids-limit", "fresh-networks", "allow-image", "allow"),
}
"""Keys that a project's own file may have."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of an option as its file has it and as its type makes of it, and that file."""

    written: Any
    value: Any
    file: Path
    of_project: bool = False


Tables = dict[str, dict[str, tuple[Any, Any]]]
"""What a file says, by table and key: as it is written, and as the option's type makes of it."""


@dataclass(slots=True)
class Settings:
    """What the files say for one verb, by the names of its options; `asked` is what a project's file wants allowed."""

    values: dict[str, Setting] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    asked_by: Path | None = None

    def defaults(self) -> dict[str, Any]:
        """The values alone."""
        return {name: setting.value for name, setting in self.values.items()}


def project_root(folder: Path) -> Path:
    """The folder of the repository that `folder` is in, or itself where there is none."""
    folder = folder.resolve()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), folder)


def settings_of(verb: str, folder: Path | None) -> Settings:
    """What the files say for a verb, in a project's folder if one is given. Raises UsageError naming file and key."""
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
    """What a file says; None where there is none."""
    try:
        if path.is_fifo():
            raise UsageError(f"{path}: no file")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"can't read the settings in {path}: {error.strerror}") from error
    if not data:
        return None
    import tomllib  # only where there is something to read

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{path}: no TOML: {error}") from error


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
    """The tables of a file. Raises UsageError for whatever is wrong in any of them."""
    checked: Tables = {}
    for name, table in document.items():
        _known(path, f"{place}{name}", name, TABLES if place or project else (*TABLES, PROJECTS), "table")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {place}{name}: is a table; write [{place}{name}], and its settings below that")
        options = options_of(name)
        checked[name] = {}
        for key, value in table.items():
            where = f"{path}: [{place}{name}] {key}"
            _known(path, f"[{place}{name}] {key}", key, options, "setting")
            if project and key not in OF_A_PROJECT:
                raise UsageError(f"{where}: is not for a project's file to set; put it into {settings_file()}")
            checked[name][key] = value, _converted(where, key, options[key], value)
    return checked


def _known(path: Path, where: str, name: str, known: Iterable[str], what: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
        raise UsageError(f"{path}: {where}: no such {what}; {hint}")


def _check_projects(projects: Any) -> None:
    if not isinstance(projects, dict) or not all(isinstance(tables, dict) for tables in projects.values()):
        raise UsageError(f'{settings_file()}: {PROJECTS}: write [{PROJECTS}."/path/to/project".run], and so on')


def _converted(where: str, key: str, option: click.Option, value: Any) -> Any:
    if option.multiple:
        if not isinstance(value, list):
            raise UsageError(f'{where}: is a list; write {key} = ["...", "..."]')
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
        raise UsageError(f"{where}: {value!r} is of the wrong type; write {key} = {example}")
    try:
        return value if wanted is bool else option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error


def _fitting(verb: str, options: Mapping[str, click.Option], tables: Tables) -> dict[str, tuple[Any, Any]]:
    """What a file's tables say for a verb, by key; its own table wins."""
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
    """What keeps jobs in may be made stricter by a project, never weaker."""
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
