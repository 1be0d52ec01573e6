"""The verb `tui`: the dashboard, in a terminal or a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option
from cli.process import interpreter
from protocol.addresses import DEFAULT_DASHBOARD

if TYPE_CHECKING:
    pass


@click.command("tui")
@click.option(
    "--web",
    metavar="[HOST:PORT]",
    is_flag=False,
    flag_value=DEFAULT_DASHBOARD,
    help=f"Serve it to browsers; default address: {DEFAULT_DASHBOARD} (this machine only).",
)
@coordinator_option
def tui_command(where: Target, web: str | None) -> None:
    """Open the dashboard."""
    from cli.session.session import running_session

    interpreter.settle()
    with running_session(where) as session:
        if web is None:
            from tui.app import LongshoreApp

            LongshoreApp(session.client.address).run()
        else:
            from tui.web import serve

            serve(session.client.address, web, ready=lambda link: click.echo(f"The dashboard is at {link}"))
