"""The verb `project hook`: what to enter at a forge so that its webhooks start runs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option

if TYPE_CHECKING:
    from cli.render.output import Output

SECRET_BYTES = 32
UNKNOWN_WEB = "https://LONGSHORE"


@click.command("hook")
@click.argument("name", metavar="GROUP/NAME")
@click.option(
    "--web-url",
    metavar="URL",
    envvar="LONGSHORE_WEB_URL",
    help="Address at which the forge reaches the web server; default: that of the one on this machine.",
)
@click.option("--new-secret", is_flag=True, help="Replace the hook secret by a new one, and print it once.")
@output_option("Print one JSON document instead of text.")
@coordinator_option
def hook_command(where: Target, name: str, web_url: str | None, new_secret: bool, output: Output) -> None:
    """Show what to enter at a forge so that its webhooks start runs of GROUP/NAME."""
    from cli.session.session import acting_session, reading_session
    from protocol.messages import ChangeProject, Done, ProjectDetail, ShowProject
    from web.hooks.setup import TITLES, hook_url, steps

    secret = secrets.token_urlsafe(SECRET_BYTES) if new_secret else None
    with acting_session(where) if secret else reading_session(where) as session:
        if secret:
            session.client.request(ChangeProject, Done, name=name, hook_secret=secret)
        view = session.client.request(ShowProject, ProjectDetail, name=name, triggers=0).project
    base = web_url or _web_here(where)
    url = hook_url(base or UNKNOWN_WEB, name)
    kinds = [view.project.forge.kind] if view.project.forge else list(TITLES)
    if secret:
        says = f"hook secret  {secret}\n             (shown only now)"
    elif view.has_hook_secret:
        says = "hook secret  as given with --hook-secret; --new-secret makes and prints a new one"
    else:
        says = "hook secret  none yet, so every webhook is refused; --new-secret makes one"
    lines = [f"URL          {url}", says]
    for kind in kinds:
        lines += ["", f"{TITLES[kind]}:", *(f"  {step}" for step in steps(kind, url))]
    document = {
        "url": url,
        "secret": secret,
        "has_secret": view.has_hook_secret,
        "forges": {kind: steps(kind, url) for kind in kinds},
    }
    output.document(document, "\n".join(lines))
    if base is None:
        output.note("no web server runs on this machine: start one with `longshore up --web`, or give --web-url")


def _web_here(where: Target) -> str | None:
    from protocol.places import web_url

    return web_url(where.state)
