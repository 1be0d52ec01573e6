"""The hidden verb `launcher`: the process that a coordinator starts beside itself once it has a project."""

from __future__ import annotations

import os

import click

from cli.options.common import log_json_option, until_eof_option
from cli.process import interpreter
from cli.process.signals import EndOfInput, on_signals, tell_on_signal
from protocol.places import state_directory

NICER = 5
"""What runs already comes before what is to run, where the CPU is short."""


@click.command("launcher", hidden=True)
@click.option("--coordinator", metavar="ADDRESS", required=True, help="Coordinator to connect to, tcp://HOST:PORT.")
@click.option("--includes", type=click.Choice(["none", "public", "own"]), default="public", show_default=True)
@log_json_option
@until_eof_option
def launcher_command(coordinator: str, includes: str, log_json: bool, until_eof: bool) -> None:
    """Start the runs of projects. LONGSHORE_STATE is the coordinator's."""
    from typing import cast

    from cli.process.log_setup import log_to_stderr
    from protocol.client import Client
    from protocol.keys import credentials_beside
    from team.launcher import REQUEST_SECONDS, Launcher
    from team.outbox import Outbox
    from team.schedule_watch import ScheduleWatch

    log_to_stderr(as_json=log_json)
    os.nice(NICER)
    state = state_directory()
    credentials = credentials_beside(state, "launcher", coordinator)
    client = Client(coordinator, timeout=REQUEST_SECONDS, name="launcher", credentials=credentials)
    parts = [ScheduleWatch(), Outbox()]
    launcher = Launcher(client, state / "launcher", includes=cast("object", includes), parts=parts)  # type: ignore[arg-type]
    on_signals(launcher.stop)
    tell_on_signal()
    if until_eof:
        EndOfInput().then(launcher.stop)
    interpreter.settle()
    launcher.run()
