"""The verb `lock`: writes the versions of a pipeline file's includes into its lock file. Starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.fetching import FetchOptions, fetch_options
from cli.options.serving import ServingCommand
from cli.render.warnings import print_warning
from cli.submit.variables import file_argument, file_options, variable_option
from protocol.display import clean
from protocol.errors import UsageError
from protocol.plan import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.includes.records import Pin


@click.command("lock", cls=ServingCommand, settings_of="run", in_project=True)
@file_argument
@click.option("--update", is_flag=True, help="Ask for the newest version of every include, and forget unused ones.")
@variable_option
@file_options
@fetch_options
def lock_command(
    file: Path,
    update: bool,
    variables: list[Variable],
    projects: dict[str, Path],
    inputs: dict[str, str],
    fetch: FetchOptions,
) -> None:
    """Write the commits of all fetched includes of FILE (default: the repository's .gitlab-ci.yml) and of its child
    pipelines, and the digests of remote files, into .gitlab-ci.lock.yml beside it. `run`, `plan` and `validate` then
    use just these.

    Includes that are locked already keep their version, unless --update is given.
    """
    from cli.render.phrases import counted
    from pipeline.includes.lock_file import lock_path, pins_of, write_lock
    from pipeline.static_children import compile_with_children

    if update and fetch.offline:
        raise UsageError("--update asks the servers and --offline asks none; give one of them")
    path = lock_path(file)
    fetching = fetch.fetching(file, locking="update" if update else "add")
    before = _before(path) if update else dict(fetching.locked or {})
    values = {variable.key: variable.value for variable in variables}
    compilation = compile_with_children(file, variables=values, projects=projects, inputs=inputs, fetching=fetching)
    for warning in compilation.warnings:
        print_warning(warning)
    found = pins_of(compilation.sources)
    pins = found if update else before | found
    if not pins and not path.exists():
        print(f"{clean(str(file))}: nothing to lock: no include is fetched")
        return
    write_lock(path, pins)
    for line in _changes(before, pins):
        print(clean(line))
    print(f"{clean(str(path))}: {counted(len(pins), 'include')} locked")


def _before(path: Path) -> dict[str, Pin]:
    """The pins that --update replaces; none of a damaged file, which it repairs."""
    from pipeline.includes.lock_file import read_lock
    from protocol.errors import PipelineFileError

    try:
        return read_lock(path) or {}
    except PipelineFileError:
        return {}


def _changes(before: Mapping[str, Pin], after: Mapping[str, Pin]) -> list[str]:
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            lines.append(f"+ {key}: {_short(new)}")
        elif new is None and old is not None:
            lines.append(f"- {key}: {_short(old)}")
        elif old is not None and new is not None and old != new:
            lines.append(f"~ {key}: {_short(old)} -> {_short(new)}")
    return lines


def _short(pin: Pin) -> str:
    from cli.render.sources import short_version

    version = f" ({pin.version})" if pin.version else ""
    return f"{short_version(pin.commit, pin.sha256)}{version}"
