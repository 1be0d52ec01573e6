"""The verbs that are processes: coordinator, worker, the dashboard, and the one that finishes embedded runs."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option
from cli.options.serving import (
    TAKEOVER_SECONDS,
    CoordinatorOptions,
    Serving,
    ServingCommand,
    WorkerOptions,
    coordinator_options,
    serving_options,
    worker_options,
)
from cli.process import interpreter
from cli.process.interrupts import Presses
from protocol.addresses import DEFAULT_COORDINATOR, DEFAULT_DASHBOARD
from protocol.errors import UsageError
from protocol.places import state_directory
from protocol.statuses import UNFINISHED, ExecutionStatus

if TYPE_CHECKING:
    from cli.session.state_directory import StateDirectory
    from protocol.client import Client

LOCK_SECONDS = 15.0
"""How long to wait for another process to leave the state directory: a verb that reads, or one that hands over."""
LOCK_RETRY_SECONDS = 0.02
FIRST_IDLE_SECONDS = 15.0
"""How long the background process waits for its first run: that of the verb that has started it."""
IDLE_SECONDS = 2.0
"""How long it stays after the last run has ended, for those who follow it."""
IDLE_POLL_SECONDS = 0.5
RUNS_LOOKED_AT = 1000

LEAVE_SECONDS = 12.0
"""How long a process of `up` takes at most to end after `up` itself; nothing is lost by its being cut short."""

log_json_option = click.option("--log-json", is_flag=True, help="Log JSON objects instead of lines.")
until_eof_option = click.option("--until-eof", is_flag=True, hidden=True, help="End when stdin does: `up` is gone.")


@click.command("coordinator", cls=ServingCommand)
@click.option("--bind", default=DEFAULT_COORDINATOR, show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--feed-bind", metavar="ADDRESS", help="Where the feed listens; default: a free port of the same host.")
@click.option("--database", metavar="URL", help="sqlite:///PATH or postgresql://...; default: in LONGSHORE_STATE.")
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
    """Start a coordinator. Its address goes to stdout once it listens, its log to stderr."""
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
    stdin = _EndOfInput() if until_eof else None
    _lock(state)
    settings = CoordinatorSettings(
        state=state.path,
        bind=bind,
        feed_bind=feed_bind,
        database=database,
        retention=options.retention,
        limits=bounds,
    )
    coordinator = Coordinator(settings)
    _on_signals(coordinator.stop)
    _tell_on_signal()
    coordinator.start()
    if stdin is not None:
        stdin.then(coordinator.stop)
    state.publish(coordinator.address, lives_with=os.getppid() if until_eof else None)
    click.echo(coordinator.address)
    interpreter.settle()
    coordinator.run()
    state.release()


@click.command("worker", cls=ServingCommand)
@click.option(
    "--coordinator",
    metavar="ADDRESS",
    default=DEFAULT_COORDINATOR,
    envvar="LONGSHORE_COORDINATOR",
    show_default=True,
    help="The coordinator to work for, tcp://HOST:PORT.",
)
@click.option("--join", metavar="TOKEN", help="A join token of the coordinator; needed once, and ignored after that.")
@click.option("--name", help="What it is called at the coordinator; default: the host's name.")
@log_json_option
@until_eof_option
@worker_options
def worker_command(
    worker: WorkerOptions, coordinator: str, join: str | None, name: str | None, log_json: bool, until_eof: bool
) -> None:
    """Start a worker: it runs jobs in this host's Docker engine until SIGTERM or Ctrl-C.

    The first signal lets it finish what runs and hand back the rest; the second one ends it at once, and the next
    worker of its name on this host takes the running containers over.
    """
    import zmq

    from cli.process.log_setup import log_to_stderr
    from cli.session.enrolment import join_worker, worker_credentials
    from cli.session.worker_factory import ask_coordinator_id, make_worker
    from protocol.keys import parse_join_token

    log_to_stderr(as_json=log_json)
    token = parse_join_token(join) if join else None
    coordinator = token.address if token else coordinator
    own = {"name": name} if name is not None else {}
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
    settings = replace(settings, credentials=credentials)
    stopped = threading.Event()
    stdin = _EndOfInput() if until_eof else None
    if stdin is not None:
        stdin.then(stopped.set)
    _on_signals(stopped.set)
    if (coordinator_id := ask_coordinator_id(coordinator, stopped.is_set, credentials)) is None:
        return
    daemon = make_worker(settings, coordinator_id)
    _on_signals(daemon.stop, calls=2)
    _tell_on_signal(daemon.tell)
    if stdin is not None:
        stdin.then(daemon.stop, daemon.stop)  # at once: the next `up` takes the containers over
    if not stopped.is_set():
        interpreter.settle()
        daemon.run()
        zmq.Context.instance().term()  # when its goodbye has left, or had its time


@click.command("tui")
@click.option(
    "--web",
    metavar="[HOST:PORT]",
    is_flag=False,
    flag_value=DEFAULT_DASHBOARD,
    help=f"Serve it to a browser; at {DEFAULT_DASHBOARD}, this machine only, unless told otherwise.",
)
@coordinator_option
def tui_command(where: Target, web: str | None) -> None:
    """Open the dashboard."""
    from cli.session.session import running_session

    interpreter.settle()
    with running_session(where) as session:
        if web is None:
            from tui.app import LongshoreApp

            LongshoreApp(session.client.address).run()
        else:
            from tui.web import serve

            serve(session.client.address, web, ready=lambda link: click.echo(f"The dashboard is at {link}"))


@click.command("background", hidden=True, cls=ServingCommand, settings_of="run")
@click.argument("state", type=click.Path(path_type=Path))
@serving_options
def background_command(serving: Serving, state: Path) -> None:
    """Serve the state directory STATE until all its runs have ended."""
    from cli.process.log_setup import log_to_stderr
    from cli.session.embedded import Embedded
    from cli.session.state_directory import StateDirectory
    from protocol.client import Client

    log_to_stderr()
    stopped = threading.Event()
    _on_signals(stopped.set)
    directory = StateDirectory(state)
    deadline = time.monotonic() + LOCK_SECONDS
    while not directory.try_lock():
        if directory.owner() is not None or time.monotonic() > deadline:
            return  # somebody else serves it already
        time.sleep(LOCK_RETRY_SECONDS)
    idle_seconds = FIRST_IDLE_SECONDS
    while True:
        embedded = Embedded(directory, serving)
        embedded.wait_for_engine()
        directory.publish(embedded.address)
        with Client(embedded.address, name="background", credentials=embedded.credentials) as client:
            _until_idle(client, embedded.check, stopped, idle_seconds)
        if not embedded.stop() or stopped.is_set():
            break
        idle_seconds = IDLE_SECONDS  # a run came in the very moment of leaving
    directory.release()


def _until_idle(client: Client, check: Callable[[], None], stopped: threading.Event, idle_seconds: float) -> None:
    """Returns when no run has gone on for a while; `idle_seconds` is that while until the first run is seen."""
    newest_before: int | None = None
    busy_at = time.monotonic()
    while True:
        check()
        runs = client.list_runs(RUNS_LOOKED_AT)
        newest = max((run.id for run in runs), default=0)
        newest_before = newest if newest_before is None else newest_before
        goes_on = any(run.status in UNFINISHED - {ExecutionStatus.MANUAL} for run in runs)
        if goes_on or newest > newest_before:
            idle_seconds = IDLE_SECONDS
        if goes_on:
            busy_at = time.monotonic()
        if time.monotonic() - busy_at >= idle_seconds or stopped.wait(IDLE_POLL_SECONDS):
            return


class _EndOfInput:
    """Ends this process with the one that holds the other end of its stdin, however that ends.

    A pipe, not the kernel's parent-death signal: that one comes when the parent's *thread* ends, and is not sent to a
    process whose parent was gone before it asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_end = False
        self._stops: tuple[Callable[[], object], ...] = ()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def then(self, *stops: Callable[[], object]) -> None:
        """What stops this process from now on; called at once if the end was there already."""
        with self._lock:
            self._stops = stops
            at_end = self._at_end
        if at_end:
            self._stop()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        with self._lock:
            self._at_end = True
        logging.getLogger(__name__).warning("`longshore up` has ended, and this process with it")
        self._stop()
        time.sleep(LEAVE_SECONDS)
        os._exit(1)

    def _stop(self) -> None:
        for stop in self._stops:
            stop()


def _allow_connections() -> None:
    """As many open files as the host lets us have: a storm of connections must not keep a log from being opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _lock(state: StateDirectory) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while not state.try_lock():
        if (owner := state.owner()) is not None and not owner.is_leaving:
            raise UsageError(
                f"process {owner.pid} serves {state.path} already, at {owner.address}; "
                "use that one, stop it, or set LONGSHORE_STATE to another directory"
            )
        if time.monotonic() > deadline:
            raise UsageError(f"the state directory {state.path} is in use by another process")
        time.sleep(LOCK_RETRY_SECONDS)


def _tell_on_signal(tell: Callable[[], object] = lambda: None) -> None:
    """SIGUSR1 has a process say what it is at: by `tell`, and where each of its threads is, to stderr."""
    signal.signal(signal.SIGUSR1, lambda _number, _frame: tell())
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)


def _on_signals(stop: Callable[[], object], *, calls: int = 1) -> None:
    """The first `calls` presses of Ctrl-C, or SIGTERMs, call `stop`; one more ends the process at once, which loses
    nothing.
    """
    presses = Presses()

    def handler(number: int, _frame: FrameType | None) -> None:
        if not presses.add():
            return
        if presses.count <= calls:
            stop()
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
