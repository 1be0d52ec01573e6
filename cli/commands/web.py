"""The verb `web`: the HTTP server that takes webhooks and git pushes, a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.options.common import Target, coordinator_option, log_json_option, until_eof_option
from cli.process import interpreter
from protocol.addresses import DEFAULT_WEB
from protocol.errors import UsageError
from protocol.places import WEB_URL

Command = TypeVar("Command", bound=Callable[..., Any])


def tls_options(command: Command) -> Command:
    """Adds the options that let the web server listen to other machines."""
    options = [
        click.option("--tls-cert", metavar="FILE", type=click.Path(path_type=Path), help="Certificate chain in PEM."),
        click.option("--tls-key", metavar="FILE", type=click.Path(path_type=Path), help="Its private key in PEM."),
        click.option(
            "--behind-proxy",
            is_flag=True,
            help="Serve without TLS, also to other machines: a proxy in front has it, and limits connections.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def tls_files(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """The certificate and its key as absolute paths; None without. Raises UsageError if one is missing."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("give --tls-cert and --tls-key together")
    return cert.absolute(), key.absolute()


@click.command("web")
@click.option("--bind", default=DEFAULT_WEB, show_default=True, metavar="HOST:PORT", help="Address to listen on.")
@tls_options
@log_json_option
@until_eof_option
@coordinator_option
def web_command(
    where: Target,
    bind: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    log_json: bool,
    until_eof: bool,
) -> None:
    """Serve webhooks and git pushes, which start runs of projects. Prints its URL once it listens, and logs to stderr.

    Its coordinator is the one at --coordinator, else the one of this state directory. On another host than the
    coordinator's, redeem a token of `longshore token create --role web` with `longshore login` first.
    """
    from cli.process.log_setup import log_to_stderr
    from cli.process.signals import EndOfInput
    from protocol.keys import credentials_beside_or_own
    from web.server import WebSettings, serve

    tls = tls_files(tls_cert, tls_key)
    log_to_stderr(as_json=log_json)
    address = where.coordinator or _own_coordinator(where.state)
    settings = WebSettings(
        coordinator=address,
        credentials=credentials_beside_or_own(where.state, "web", address),
        bind=bind,
        tls=tls,
        behind_proxy=behind_proxy,
    )
    if until_eof:
        EndOfInput().then(lambda: os.kill(os.getpid(), signal.SIGTERM))
    interpreter.settle()

    def ready(url: str) -> None:
        (where.state / WEB_URL).write_text(f"{url}\n")
        click.echo(url)

    where.state.mkdir(parents=True, exist_ok=True)
    serve(settings, ready)


def _own_coordinator(state: Path) -> str:
    from cli.session.state_directory import StateDirectory

    owner = StateDirectory(state).owner()
    if owner is None:
        raise UsageError("no coordinator is running; start both with `longshore up --web`, or give --coordinator")
    return owner.address
