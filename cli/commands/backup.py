"""The verb `backup`: a consistent copy of the state directory, taken while runs continue."""

from __future__ import annotations

from pathlib import Path

import click

from protocol.places import state_directory


@click.command("backup")
@click.argument("destination", type=click.Path(path_type=Path))
def backup_command(destination: Path) -> None:
    """Copy the state directory to DESTINATION, a new directory, while its coordinator keeps running.

    The copy contains runs, logs, artifacts and keys; to use it, start a coordinator with LONGSHORE_STATE=DESTINATION.
    The source is the directory that LONGSHORE_STATE names, so run this on the coordinator's host. With a PostgreSQL
    database, run pg_dump first, then copy the directory.
    """
    from coordinator.maintenance.backup import back_up

    copied = back_up(state_directory(), destination)
    click.echo(f"{copied.runs} runs, {copied.files} files, {copied.size / (1 << 20):.1f} MiB in {destination}")
