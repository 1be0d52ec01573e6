"""The verb `login`: enrols this user at a coordinator."""

from __future__ import annotations

import getpass
import os
import sys

import click

from protocol.display import clean
from protocol.errors import UsageError


@click.command("login")
@click.argument("token")
@click.option("--name", metavar="NAME", help="Name shown in `audit` and `keys list`; default: USER@HOST.")
def login_command(token: str, name: str | None) -> None:
    """Redeem the join token TOKEN (`-` reads it from stdin); its coordinator then accepts this user."""
    from cli.session.enrolment import enrol
    from protocol.keys import ACCESS, credentials_file, parse_join_token
    from protocol.places import state_directory

    joined = parse_join_token(sys.stdin.readline() if token == "-" else token)
    name = name or f"{getpass.getuser()}@{os.uname().nodename}"
    directory = state_directory() / ACCESS
    enrolled = enrol(joined, name, directory)
    if enrolled.role == "worker":
        (directory / credentials_file(joined.address)).unlink()
        raise UsageError("this join token is for a worker, and is now spent; workers join with `worker --join TOKEN`")
    click.echo(f"logged in at {joined.address} as the {clean(enrolled.role)} {clean(enrolled.name)}. To use it:")
    click.echo(f"  export LONGSHORE_COORDINATOR={joined.address}")
