"""The verb `coordinator`: the process that owns the runs."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import sys

import click

from cli.options.common import log_json_option, until_eof_option
from cli.options.serving import (
    CoordinatorOptions,
    ServingCommand,
    coordinator_options,
)
from cli.process import interpreter
from cli.process.signals import EndOfInput, on_signals, tell_on_signal
from cli.session.state_directory import lock_patiently
from protocol.addresses import DEFAULT_COORDINATOR
from protocol.places import state_directory

log = logging.getLogger(__name__)


@click.command("coordinator", cls=ServingCommand)
@click.option("--bind", default=DEFAULT_COORDINATOR, show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--feed-bind", metavar="ADDRESS", help="Address of the event feed; default: a free port on the same host."
)
@click.option(
    "--database", metavar="URL", help="sqlite:///PATH or postgresql://...; default: SQLite in LONGSHORE_STATE."
)
@log_json_option
@until_eof_option
@coordinator_options
def coordinator_command(
    options: CoordinatorOptions,
    bind: str,
    feed_bind: str | None,
    database: str | None,
    log_json: bool,
    until_eof: bool,
) -> None:
    """Start a coordinator. Prints its address to stdout once it listens, and logs to stderr."""
    from cli.process.log_setup import log_to_stderr
    from cli.session.state_directory import StateDirectory
    from coordinator.store.drivers import only_sqlite

    if database is None or database.startswith("sqlite:"):
        only_sqlite()
    from coordinator.server import Coordinator
    from coordinator.settings import CoordinatorSettings

    log_to_stderr(as_json=log_json)
    bounds = options.bounds
    _allow_connections()
    state = StateDirectory(state_directory())
    stdin = EndOfInput() if until_eof else None
    lock_patiently(state)
    settings = CoordinatorSettings(
        state=state.path,
        bind=bind,
        feed_bind=feed_bind,
        database=database,
        retention=options.retention,
        limits=bounds,
        children=options.children(shared=True),
        web_url=options.pages,
        launcher=[sys.executable, "-m", "cli", "launcher", "--includes", options.child_includes or "public"],
    )
    warn_of_weak_confinement()
    coordinator = Coordinator(settings)
    on_signals(coordinator.stop)
    tell_on_signal()
    coordinator.start()
    if stdin is not None:
        stdin.then(coordinator.stop)
    state.publish(coordinator.address, lives_with=os.getppid() if until_eof else None)
    click.echo(coordinator.address)
    interpreter.settle()
    coordinator.run()
    state.release()


def warn_of_weak_confinement() -> None:
    """Warns if this kernel leaves it to the compilers of child pipelines what they do."""
    from compiler.confinement import unenforced

    if missing := unenforced():
        log.warning(
            "this kernel does not enforce on compilers of child pipelines %s: their own code keeps to it (SECURITY.md)",
            ", ".join(missing),
        )


def _allow_connections() -> None:
    """Raises the open-file limit to the host's maximum: many connections must not keep a log from being opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
