"""The verb `config`: effective settings and their sources."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options.common import output_option
from cli.options.settings_files import TABLES, Settings, options_of, settings_of

if TYPE_CHECKING:
    from cli.render.output import Output

IN_PROJECTS = ("run", "up")
"""Verbs to which a project's own file applies."""


@click.command("config")
@output_option("Print one JSON document instead of a table.")
def config_command(output: Output) -> None:
    """Show the settings of `run`, `up`, `worker` and `coordinator` in this directory, and the source of each."""
    rows: list[dict[str, Any]] = []
    for verb in TABLES:
        settings = settings_of(verb, Path() if verb in IN_PROJECTS else None)
        for key, option in options_of(verb).items():
            value, source = _value(option, settings)
            rows.append({"verb": verb, "setting": key, "value": value, "from": source})
    output.rows(rows, _shown)


def _value(option: click.Option, settings: Settings) -> tuple[Any, str]:
    """A setting's value as in JSON, and its source: an environment variable, a file, or the default."""
    name = option.name or ""
    if isinstance(option.envvar, str) and os.environ.get(option.envvar):
        return os.environ[option.envvar], f"${option.envvar}"
    if name in settings.values:
        return settings.values[name].written, str(settings.values[name].file)
    default = option.to_info_dict()["default"]
    return (list(default) if isinstance(default, tuple) else default), "default"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
