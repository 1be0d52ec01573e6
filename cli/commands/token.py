"""The verbs `token create` and `token list`: join tokens for workers and users."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output


@click.group("token")
def token_group() -> None:
    """Manage join tokens, which are redeemed by `login` or `worker --join`."""


@token_group.command("create")
@click.option(
    "--role",
    type=click.Choice(["worker", "operator", "viewer", "web"]),
    required=True,
    help="Role granted by the token; web is for `longshore web` on another host.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="L",
    help="Let the worker receive secrets restricted to L. Repeatable.",
)
@click.option("--expires", default="1h", show_default=True, metavar="TIME", help="Validity, such as 30m, 1h or 2d.")
@click.option("--address", metavar="ADDRESS", help="Coordinator's address as seen from other hosts; default: detected.")
@output_option("Print one JSON document instead of the token alone.")
@coordinator_option
def create_command(
    where: Target, role: str, labels: tuple[str, ...], expires: str, address: str | None, output: Output
) -> None:
    """Create a single-use join token and print it. Only the coordinator's owner can, on its machine.

    A worker declares its own labels; a secret restricted to a label (`secret set --label`) reaches a worker only if its
    token was created with that label.
    """
    from cli.render.json_views import rfc3339
    from cli.session.session import ReadingSession, reading_session
    from coordinator.security.local_address import own_address
    from pipeline.units import seconds_of
    from protocol.addresses import WILDCARDS, TcpAddress, parse_tcp
    from protocol.admin import CreateToken, TokenCreated
    from protocol.errors import UsageError
    from protocol.keys import JoinToken

    seconds = seconds_of(expires)
    if seconds is None:
        raise click.BadParameter(f"{expires!r} is not a duration; use 30m, 1h or 2d", param_hint="--expires")
    with reading_session(where) as session:
        if isinstance(session, ReadingSession):
            raise UsageError("no coordinator is running; start one with `longshore coordinator`")
        listens = parse_tcp(session.client.address)
        created = session.client.request(CreateToken, TokenCreated, role=role, expires=seconds, labels=list(labels))
    host = own_address() if listens.host in WILDCARDS else listens.host
    reached = str(parse_tcp(address)) if address else str(TcpAddress(host, listens.port))
    token = str(JoinToken(reached, created.server, created.secret))
    expiry = rfc3339(created.expires_at)
    output.document({"token": token, "role": role, "address": reached, "expires_at": expiry}, token)
    usage = "worker --join" if role == "worker" else "login"
    output.note(f"valid once, for {expires}, at {reached}: longshore {usage} TOKEN")
    if parse_tcp(reached).loopback:
        output.note(
            "that address is local to this machine; for other hosts, start the coordinator with "
            "--bind tcp://0.0.0.0:7700"
        )


@token_group.command("list")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def list_command(where: Target, output: Output) -> None:
    """List join tokens, newest first; their secrets are not stored."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.admin import ListTokens, TokenList

    with reading_session(where) as session:
        tokens = session.client.request(ListTokens, TokenList).tokens
    now = time.time()
    rows = [
        {
            "id": token.id,
            "role": token.role,
            "labels": token.labels,
            "state": "used" if token.used_by else "expired" if token.expires_at <= now else "open",
            "used_by": token.used_by,
            "created_at": rfc3339(token.created_at),
            "created_by": token.created_by,
            "expires_at": rfc3339(token.expires_at),
        }
        for token in tokens
    ]
    output.rows(rows)
