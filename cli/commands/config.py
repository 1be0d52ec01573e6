"""The verb `config`: effective settings and their sources."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from cli.options.settings_files import TABLES, Settings, options_of, settings_of

IN_PROJECTS = ("run", "up")
"""Verbs to which a project's own file applies."""


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def config_command(as_json: bool) -> None:
    """Show the settings of `run`, `up`, `worker` and `coordinator` in this directory, and the source of each."""
    from cli.render.rows import print_rows

    rows: list[dict[str, Any]] = []
    for verb in TABLES:
        settings = settings_of(verb, Path() if verb in IN_PROJECTS else None)
        for key, option in options_of(verb).items():
            value, source = _value(option, settings)
            rows.append({"verb": verb, "setting": key, "value": value, "from": source})
    if not as_json:
        rows = [row | {"value": _shown(row["value"])} for row in rows]
    print_rows(rows, as_json=as_json)


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
