"""The verbs `project notify` and `project deliveries`: whom a project's runs are told to, and what came of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output

STDIN = "-"
SECRET_BYTES = 32


@click.group("notify")
@click.argument("name", metavar="GROUP/NAME")
@click.pass_context
def notify_group(ctx: click.Context, name: str) -> None:
    """Manage the channels that are told of runs of GROUP/NAME: mail, chats, and signed JSON."""
    ctx.meta["project"] = name


@notify_group.command("add")
@click.argument("url")
@click.option(
    "--on",
    type=click.Choice(["change", "failure", "always"]),
    default="change",
    show_default=True,
    help="Tell when a branch broke, was fixed and, once a day, is still broken; of each failure; or of each run.",
)
@click.option(
    "--branch",
    "branches",
    multiple=True,
    metavar="PATTERN",
    help="Limit to matching branches and tags; without, merge requests count too. Repeatable.",
)
@click.option(
    "--secret", metavar="-", help="Secret that signs JSON, read from stdin; default: a new one, printed once."
)
@output_option("Print one JSON document instead of text.")
@coordinator_option
@click.pass_context
def add_command(
    ctx: click.Context,
    where: Target,
    url: str,
    on: str,
    branches: tuple[str, ...],
    secret: str | None,
    output: Output,
) -> None:
    """Tell URL of runs: https://HOST/PATH gets signed JSON, an address of Apprise a text, such as
    mailtos://USER:PASSWORD@HOST?to=TEAM@HOST or slack://TOKEN. With - it is read from stdin: other users of this
    machine see arguments.
    """
    import secrets

    from cli.session.session import acting_session
    from protocol.deliveries import ChannelSpec, check_address, is_signed
    from protocol.errors import UsageError
    from protocol.messages import AddChannel, ChannelAdded

    if url == STDIN and secret == STDIN:
        raise UsageError("the address and the secret can't both be read from stdin")
    if secret not in (None, STDIN):
        raise click.BadParameter("a secret is no argument: give -, and the secret on stdin", param_hint="--secret")
    if url == STDIN:
        url = sys.stdin.read().strip()
    check_address(url)
    signed = is_signed(url)
    if secret == STDIN:
        key, made = sys.stdin.read().removesuffix("\n"), ""
    else:
        key = made = secrets.token_hex(SECRET_BYTES) if signed else ""
    if not signed:
        _check_service(url)
    channel = ChannelSpec(
        project=ctx.meta["project"],
        url=url,
        on=on,  # type: ignore[arg-type]  # one of the choices
        branches=list(branches),
        secret=key,
    )
    with acting_session(where) as session:
        added = session.client.request(AddChannel, ChannelAdded, token=uuid4().hex, channel=channel)
    text = f"added channel {added.channel}"
    output.document({"id": added.channel, "secret": made or None}, text + (f"; its secret: {made}" if made else ""))


def _check_service(url: str) -> None:
    import logging

    import apprise

    from protocol.errors import UsageError

    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
        scheme = url.partition("://")[0][:30]
        raise UsageError(
            f"Apprise can't use this address ({scheme}://...); see its documentation for the form of each service, or "
            "use https://HOST/PATH for signed JSON"
        )


@notify_group.command("list")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
@click.pass_context
def list_command(ctx: click.Context, where: Target, output: Output) -> None:
    """List channels; passwords and tokens in their addresses are not shown."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.messages import ChannelList, ListChannels

    with reading_session(where) as session:
        channels = session.client.request(ListChannels, ChannelList, project=ctx.meta["project"]).channels
    rows = [
        {
            "id": channel.id,
            "address": channel.address,
            "on": channel.on,
            "branches": channel.branches,
            "created_at": rfc3339(channel.created_at),
            "created_by": channel.created_by,
        }
        for channel in channels
    ]
    output.rows(rows)


@notify_group.command("rm")
@click.argument("channel", metavar="ID", type=int)
@coordinator_option
@click.pass_context
def remove_command(ctx: click.Context, where: Target, channel: int) -> None:
    """Remove the channel ID, with what it has not got yet."""
    from cli.session.session import acting_session
    from protocol.messages import Done, RemoveChannel

    with acting_session(where) as session:
        session.client.request(RemoveChannel, Done, project=ctx.meta["project"], channel=channel)
    click.echo(f"removed channel {channel}")


@click.command("deliveries")
@click.argument("name", metavar="[GROUP/NAME]", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="At most N.")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def deliveries_command(where: Target, name: str | None, limit: int, output: Output) -> None:
    """List commit statuses and messages of the last day, newest first: delivered, waiting, or given up."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.messages import DeliveryList, ListDeliveries

    with reading_session(where) as session:
        found = session.client.request(ListDeliveries, DeliveryList, project=name, limit=limit).deliveries
    now = time.time()
    rows = [
        {
            "project": each.project,
            "to": each.to,
            "about": each.about,
            "state": each.state,
            "attempts": each.attempts,
            "next": rfc3339(each.not_before) if each.state == "pending" and each.not_before > now else None,
            "changed_at": rfc3339(each.changed_at),
            "error": each.error or None,
        }
        for each in found
    ]
    output.rows(rows)
