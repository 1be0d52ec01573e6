"""The verbs `keys list` and `keys revoke`: enrolled keys and their revocation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output


@click.group("keys")
def keys_group() -> None:
    """List and revoke enrolled keys."""


@keys_group.command("list")
@output_option("Print one JSON document instead of a table.")
@coordinator_option
def list_command(where: Target, output: Output) -> None:
    """List enrolled keys, newest first; the last one is the owner's."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.admin import KeyList, ListKeys

    with reading_session(where) as session:
        keys = session.client.request(ListKeys, KeyList).keys
    rows = [
        {
            "name": key.name,
            "role": key.role,
            "labels": key.labels,
            "key": key.key,
            "created_at": rfc3339(key.created_at or None),
            "created_by": key.created_by,
            "revoked_at": rfc3339(key.revoked_at),
        }
        for key in keys
    ]
    output.rows(rows)


@keys_group.command("revoke")
@click.argument("key")
@coordinator_option
def revoke_command(where: Target, key: str) -> None:
    """Revoke KEY, given by name or prefix. Its connections close at once; a worker's jobs fail."""
    from cli.session.session import reading_session
    from protocol.admin import RevokeKey
    from protocol.messages import Done

    with reading_session(where) as session:
        session.client.request(RevokeKey, Done, key=key)
    click.echo(f"{key} is revoked")
