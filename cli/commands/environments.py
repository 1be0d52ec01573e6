"""The verbs `environments` and `environments stop`: deployment targets by their last deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output

project_option = click.option("--project", metavar="P", help="Only environments of this project.")


@click.group("environments", invoke_without_command=True)
@project_option
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def environments_group(where: Target, output: Output, project: str | None) -> None:
    """List environments, the latest deployment first; `environments stop` stops one."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    from cli.render.environments import environment_rows
    from cli.session.session import reading_session

    with reading_session(where) as session:
        environments = session.client.environments(project)
    output.rows(environment_rows(environments, for_people=output.for_people))


@environments_group.command("stop")
@click.argument("name")
@project_option
@coordinator_option
def stop_command(where: Target, name: str, project: str | None) -> None:
    """Stop environment NAME: play the jobs that `environment:on_stop` of its last deployment names."""
    from cli.render.phrases import counted
    from cli.session.session import acting_session
    from protocol.display import clean

    with acting_session(where) as session:
        count = session.client.stop_environment(name, project)
    click.echo(f"{counted(count, 'job')} will stop {clean(name)}" if count else f"{clean(name)} is stopped")
