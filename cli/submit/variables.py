"""Pipeline file arguments of a verb: FILE, `--var`, `--project` and `--input`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from protocol.display import clean
from protocol.errors import UsageError
from protocol.plan import Variable
from protocol.variables import VARIABLE_NAME

Command = TypeVar("Command", bound=Callable[..., Any])

PIPELINE_FILE = ".gitlab-ci.yml"


def pipeline_file(folder: Path) -> Path:
    """The pipeline file for work in `folder`: its own, or the nearest one above it in its repository.

    The path is relative to `folder`. If none exists, the path of the missing one in `folder`.
    """
    above = (folder, *folder.parents)
    top = next((number for number, parent in enumerate(above) if (parent / ".git").exists()), 0)
    found = next((parent for parent in above[: top + 1] if (parent / PIPELINE_FILE).is_file()), folder)
    return Path(os.path.relpath(found / PIPELINE_FILE, folder))


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current directory was removed; change to another one") from None


def chosen_file(given: Path | None) -> Path:
    """The pipeline file named by the argument FILE (a file or a directory); by default the nearest one."""
    if given is None:
        return pipeline_file(_here())
    return given / PIPELINE_FILE if (given / PIPELINE_FILE).is_file() else given


def _choose(ctx: click.Context, _argument: click.Parameter, given: Path | None) -> Path:
    """Names the file on stderr if the user has not, and it is not in the current directory."""
    found = chosen_file(given)
    if given is None and found.parent != Path() and not ctx.resilient_parsing:
        print(f"longshore: using {clean(str(found))}", file=sys.stderr)
    return found


def file_argument(command: Command) -> Command:
    """Adds the argument FILE to a verb: a pipeline file, or a directory that has one; by default it is searched for
    upwards, as git does for its repository.
    """
    argument = click.argument(
        "file",
        required=False,
        type=click.Path(path_type=Path),
        callback=_choose,
    )
    return argument(command)


def _parse(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> list[Variable]:
    variables = []
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not VARIABLE_NAME.fullmatch(key):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE; a name has letters, digits and '_'")
        variables.append(Variable(key=key, value=value))
    return variables


variable_option = click.option(
    "--var",
    "variables",
    metavar="K=V",
    multiple=True,
    callback=_parse,
    help="Set a variable; overrides those of the file. Repeatable.",
)


def _pairs(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE")
        pairs[key] = value
    return pairs


job_input_option = click.option(
    "--input",
    "inputs",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_pairs,
    help="Set one of the job's `inputs`; an array in JSON. Repeatable.",
)


def file_options(command: Command) -> Command:
    """Adds the options of every verb that reads a pipeline file, besides `--var` and `--job`."""
    project = click.option(
        "--project",
        "projects",
        metavar="NAME=DIR",
        multiple=True,
        callback=lambda *given: {name: Path(folder) for name, folder in _pairs(*given).items()},
        help="Take includes and pipelines of this project, group or URL prefix from this directory. Repeatable.",
    )
    inputs = click.option(
        "--input",
        "inputs",
        metavar="K=V",
        multiple=True,
        callback=_pairs,
        help="Input declared in the file's `spec:inputs`. Repeatable.",
    )
    return project(inputs(command))
