"""The verb `worker`: a worker daemon."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import click
import msgspec

from cli.options.common import log_json_option, until_eof_option
from cli.options.serving import (
    TAKEOVER_SECONDS,
    ServingCommand,
    WorkerOptions,
    worker_options,
)
from cli.process import interpreter
from cli.process.signals import EndOfInput, on_signals, tell_on_signal
from protocol.addresses import DEFAULT_COORDINATOR
from protocol.places import state_directory

if TYPE_CHECKING:
    pass


@click.command("worker", cls=ServingCommand)
@click.option(
    "--coordinator",
    metavar="ADDRESS",
    default=DEFAULT_COORDINATOR,
    envvar="LONGSHORE_COORDINATOR",
    show_default=True,
    help="Coordinator to connect to, tcp://HOST:PORT.",
)
@click.option("--join", metavar="TOKEN", help="Join token of the coordinator; needed only for the first start.")
@click.option("--name", metavar="NAME", help="Name of the worker; default: the host name.")
@click.option(
    "--executor",
    metavar="NAME",
    help="Executor of its jobs: docker (the default), dummy (succeeds at once, for load tests), or MODULE:CLASS.",
)
@log_json_option
@until_eof_option
@worker_options
def worker_command(
    worker: WorkerOptions,
    coordinator: str,
    join: str | None,
    name: str | None,
    executor: str | None,
    log_json: bool,
    until_eof: bool,
) -> None:
    """Start a worker: it runs jobs, by default in this host's Docker engine, until SIGTERM or Ctrl-C.

    The first signal lets running jobs finish and hands back waiting ones; the second ends the worker at once, and the
    next worker of the same name on this host takes over the running containers.
    """
    import zmq

    from cli.process.log_setup import log_to_stderr
    from cli.session.enrolment import join_worker, worker_credentials
    from cli.session.worker_factory import ask_coordinator_id, make_worker
    from protocol.keys import parse_join_token

    log_to_stderr(as_json=log_json)
    token = parse_join_token(join) if join else None
    coordinator = token.address if token else coordinator
    options = {"name": name, "executor": executor}
    own = {key: value for key, value in options.items() if value is not None}
    settings = worker.settings(
        state_dir=state_directory() / "worker",
        coordinator=coordinator,
        name_wait=TAKEOVER_SECONDS if until_eof else 0.0,
        **own,
    )
    credentials = (
        join_worker(state_directory(), settings.name, token)
        if token
        else worker_credentials(state_directory(), settings.name, coordinator)
    )
    settings = msgspec.structs.replace(settings, credentials=credentials)
    stopped = threading.Event()
    stdin = EndOfInput() if until_eof else None
    if stdin is not None:
        stdin.then(stopped.set)
    on_signals(stopped.set)
    if (coordinator_id := ask_coordinator_id(coordinator, stopped.is_set, credentials)) is None:
        return
    daemon = make_worker(settings, coordinator_id)
    on_signals(daemon.stop, calls=2)
    tell_on_signal(daemon.tell)
    if stdin is not None:
        stdin.then(daemon.stop, daemon.stop)  # at once: the next `up` takes over the containers
    if not stopped.is_set():
        interpreter.settle()
        daemon.run()
        zmq.Context.instance().term()  # once its goodbye is sent or has timed out
