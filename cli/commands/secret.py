"""The verbs `secret set`, `secret list`, `secret rm`. Values come from stdin or a prompt, never from arguments."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output

project_option = click.option(
    "--project", default="", metavar="NAME", help="Project that the secret belongs to; default: all projects."
)


@click.group("secret")
def secret_group() -> None:
    """Manage secret variables: encrypted at rest, passed only to jobs, masked in their logs."""


@secret_group.command("set")
@click.argument("name")
@project_option
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="PATTERN",
    help="Limit to runs of matching branches or tags. Repeatable.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="L",
    help="Limit to workers whose token has this label. Repeatable.",
)
@click.option("--file", "file", is_flag=True, help="Pass the secret as a file; the variable holds its path.")
@coordinator_option
def set_command(
    where: Target, name: str, project: str, branches: tuple[str, ...], labels: tuple[str, ...], file: bool
) -> None:
    """Set the secret NAME, read from stdin or a prompt. A trailing newline on stdin is dropped."""
    from cli.session.session import reading_session
    from protocol.admin import SetSecret
    from protocol.messages import Done

    if sys.stdin.isatty():
        value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n")
    with reading_session(where) as session:
        session.client.request(
            SetSecret,
            Done,
            name=name,
            value=value,
            project=project,
            branches=list(branches),
            labels=list(labels),
            file=file,
        )
    click.echo(f"set {name}")


@secret_group.command("list")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def list_command(where: Target, output: Output) -> None:
    """List secrets, without their values."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.admin import ListSecrets, SecretList

    with reading_session(where) as session:
        secrets = session.client.request(ListSecrets, SecretList).secrets
    rows = [
        {
            "name": secret.name,
            "project": secret.project or None,
            "branches": secret.branches,
            "labels": secret.labels,
            "file": secret.file,
            "changed_at": rfc3339(secret.changed_at),
            "changed_by": secret.changed_by,
        }
        for secret in secrets
    ]
    output.rows(rows)


@secret_group.command("rm")
@click.argument("name")
@project_option
@coordinator_option
def remove_command(where: Target, name: str, project: str) -> None:
    """Remove the secret NAME. Running jobs keep it."""
    from cli.session.session import reading_session
    from protocol.admin import RemoveSecret
    from protocol.messages import Done

    with reading_session(where) as session:
        session.client.request(RemoveSecret, Done, name=name, project=project)
    click.echo(f"removed {name}")
