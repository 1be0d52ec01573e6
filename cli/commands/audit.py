"""The verb `audit`: the log of administrative actions and run commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output


@click.command("audit")
@output_option("Print one JSON document instead of a table.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=100,
    show_default=True,
    help="Maximum number of entries.",
)
@click.option("--before", type=click.IntRange(min=1), metavar="N", help="Show only entries with a lower id.")
@coordinator_option
def audit_command(where: Target, output: Output, limit: int, before: int | None) -> None:
    """Show run commands and administrative actions with their users, newest first. The log is append-only."""
    from cli.render.json_views import rfc3339
    from cli.session.session import reading_session
    from protocol.admin import AuditList, GetAudit

    with reading_session(where) as session:
        lines = session.client.request(GetAudit, AuditList, limit=limit, before=before).lines
    rows = [
        {
            "id": line.id,
            "at": rfc3339(line.at),
            "actor": line.actor,
            "role": line.role,
            "action": line.action,
            "subject": line.subject,
            "detail": line.detail,
        }
        for line in lines
    ]
    output.rows(rows)
