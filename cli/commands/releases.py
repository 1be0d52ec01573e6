"""The verb `releases`: what jobs with `release` have released."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output


@click.command("releases")
@click.option("--project", metavar="P", help="Only releases of this project.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=50,
    show_default=True,
    help="Maximum number of releases.",
)
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def releases_command(where: Target, output: Output, project: str | None, limit: int) -> None:
    """List releases, newest first. A tag that was released again is listed again."""
    from cli.render.releases import release_rows
    from cli.session.session import reading_session

    with reading_session(where) as session:
        releases = session.client.releases(project, limit)
    output.rows(release_rows(releases, for_people=output.for_people))
