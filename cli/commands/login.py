"""The verb `login`: lets this user in at a coordinator."""

from __future__ import annotations

import getpass
import os
import sys

import click

from protocol.display import clean
from protocol.errors import UsageError


@click.command("login")
@click.argument("token")
@click.option("--name", help="What you are called there, in the audit and in `keys list`; default: USER@HOST.")
def login_command(token: str, name: str | None) -> None:
    """Use a join TOKEN up (`-` reads it from stdin): from then on its coordinator lets this user in."""
    from cli.session.enrolment import enrol
    from protocol.keys import ACCESS, credentials_file, parse_join_token
    from protocol.places import state_directory

    joined = parse_join_token(sys.stdin.readline() if token == "-" else token)
    name = name or f"{getpass.getuser()}@{os.uname().nodename}"
    directory = state_directory() / ACCESS
    enrolled = enrol(joined, name, directory)
    if enrolled.role == "worker":
        (directory / credentials_file(joined.address)).unlink()
        raise UsageError("this join token is for a worker, and is used up now; workers join by `worker --join TOKEN`")
    click.echo(f"logged in at {joined.address} as the {clean(enrolled.role)} {clean(enrolled.name)}. To use it:")
    click.echo(f"  export LONGSHORE_COORDINATOR={joined.address}")
