"""The verbs that are processes: coordinator, worker, the dashboard, and the one that finishes embedded runs."""

from __future__ import annotations

import contextlib
import faulthandler
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

from coordinator.cli import interpreter
from coordinator.cli.options import Where, coordinator_option
from coordinator.cli.retention import Duration, Size, retention_options
from protocol.addresses import DEFAULT_COORDINATOR, DEFAULT_DASHBOARD
from protocol.errors import UsageError
from protocol.places import state_directory
from protocol.statuses import UNFINISHED, ExecutionStatus

if TYPE_CHECKING:
    from coordinator.cli.state import StateDirectory
    from coordinator.retention import Retention
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

log_json_option = click.option("--log-json", is_flag=True, help="Log JSON objects instead of lines.")


@click.command("coordinator")
@click.option("--bind", default=DEFAULT_COORDINATOR, show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--feed-bind", metavar="ADDRESS", help="Where the feed listens; default: a free port of the same host.")
@click.option("--database", metavar="URL", help="sqlite:///PATH or postgresql://...; default: in LONGSHORE_STATE.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=N", help="A bound on what one peer or project may ask.")
@retention_options
@log_json_option
def coordinator_command(
    retention: Retention,
    bind: str,
    feed_bind: str | None,
    database: str | None,
    limits: tuple[str, ...],
    log_json: bool,
) -> None:
    """Start a coordinator. Its address goes to stdout once it listens, its log to stderr."""
    from coordinator.cli.logsetup import log_to_stderr
    from coordinator.cli.state import StateDirectory
    from coordinator.store.drivers import only_sqlite

    if database is None or database.startswith("sqlite:"):
        only_sqlite()
    from coordinator.security.limits import parse_limits
    from coordinator.server import Coordinator
    from coordinator.settings import CoordinatorSettings

    log_to_stderr(as_json=log_json)
    bounds = parse_limits(limits)
    _allow_connections()
    state = StateDirectory(state_directory())
    _lock(state)
    settings = CoordinatorSettings(
        state=state.path, bind=bind, feed_bind=feed_bind, database=database, retention=retention, limits=bounds
    )
    coordinator = Coordinator(settings)
    _on_signals(coordinator.stop)
    _tell_on_signal()
    coordinator.start()
    state.publish(coordinator.address)
    click.echo(coordinator.address)
    interpreter.settle()
    coordinator.run()
    state.release()


@click.command("worker")
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
@click.option("--slots", type=click.IntRange(min=1), help="Jobs to run at a time; default: the number of CPUs.")
@click.option("--label", "labels", multiple=True, metavar="L", help="A tag that jobs can ask for. May be repeated.")
@click.option("--tagged-only", is_flag=True, help="Take no jobs that have no tags.")
@click.option(
    "--allow",
    multiple=True,
    metavar="WHAT",
    help="What jobs may do beyond their containers: privileged, new-privileges, volume:/PATH, volume:/HOST:/PATH[:ro].",
)
@click.option("--allow-image", "images", multiple=True, metavar="PATTERN", help="Run only such images, as `alpine:*`.")
@click.option("--pids-limit", type=click.IntRange(min=1), help="Processes that a container may have; default: 4096.")
@click.option(
    "--fresh-networks",
    is_flag=True,
    help="Make each job a network of its own; else jobs of one image take turns in one.",
)
@click.option(
    "--cache-size",
    "cache_limit",
    type=Size(),
    metavar="SIZE",
    help="What jobs' caches may take, and again as much copies of workspaces and artifacts; default: 10G each.",
)
@click.option(
    "--keep-caches",
    type=Duration(),
    metavar="DURATION",
    help="Remove from both what was not used for so long (30 days); default: only when there is no room.",
)
@log_json_option
def worker_command(
    coordinator: str,
    join: str | None,
    name: str | None,
    slots: int | None,
    labels: tuple[str, ...],
    tagged_only: bool,
    allow: tuple[str, ...],
    images: tuple[str, ...],
    pids_limit: int | None,
    fresh_networks: bool,
    cache_limit: int | None,
    keep_caches: float | None,
    log_json: bool,
) -> None:
    """Start a worker: it runs jobs in this host's Docker engine until SIGTERM or Ctrl-C.

    The first signal lets it finish what runs and hand back the rest; the second one ends it at once, and the next
    worker of its name on this host takes the running containers over.
    """
    import zmq

    from coordinator.cli.joining import join_worker, worker_credentials
    from coordinator.cli.logsetup import log_to_stderr
    from coordinator.cli.workers import ask_coordinator_id, make_worker
    from daemon.settings import WorkerSettings
    from protocol.keys import parse_join_token

    log_to_stderr(as_json=log_json)
    told = {"name": name, "slots": slots, "pids_limit": pids_limit, "cache_limit": cache_limit}
    chosen = {key: value for key, value in told.items() if value is not None}
    token = parse_join_token(join) if join else None
    coordinator = token.address if token else coordinator
    settings = WorkerSettings(
        state_dir=state_directory() / "worker",
        coordinator=coordinator,
        labels=labels,
        run_untagged=not tagged_only,
        allow=allow,
        allow_images=images,
        keep_caches=keep_caches,
        reuse_networks=not fresh_networks,
        **chosen,  # type: ignore[arg-type]
    )
    credentials = (
        join_worker(state_directory(), settings.name, token)
        if token
        else worker_credentials(state_directory(), settings.name, coordinator)
    )
    settings = replace(settings, credentials=credentials)
    stopped = threading.Event()
    _on_signals(stopped.set)
    if (coordinator_id := ask_coordinator_id(coordinator, stopped.is_set, credentials)) is None:
        return
    worker = make_worker(settings, coordinator_id)
    _on_signals(worker.stop, calls=2)
    _tell_on_signal(worker.tell)
    if not stopped.is_set():
        interpreter.settle()
        worker.run()
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
def tui_command(where: Where, web: str | None) -> None:
    """Open the dashboard."""
    from coordinator.cli.session import running_session

    interpreter.settle()
    with running_session(where) as session:
        if web is None:
            from tui.app import LongshoreApp

            LongshoreApp(session.client.address).run()
        else:
            from tui.web import serve

            serve(session.client.address, web, ready=lambda link: click.echo(f"The dashboard is at {link}"))


@click.command("background", hidden=True)
@click.argument("state", type=click.Path(path_type=Path))
def background_command(state: Path) -> None:
    """Serve the state directory STATE until all its runs have ended."""
    from coordinator.cli.embedded import Embedded
    from coordinator.cli.logsetup import log_to_stderr
    from coordinator.cli.state import StateDirectory
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
        embedded = Embedded(directory)
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


def _allow_connections() -> None:
    """As many open files as the host lets us have: a storm of connections must not keep a log from being opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _lock(state: StateDirectory) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while not state.try_lock():
        if (owner := state.owner()) is not None:
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
    """The first `calls` of SIGTERM and Ctrl-C call `stop`; one more ends the process at once, which loses nothing."""
    left = calls

    def handler(_number: int, _frame: FrameType | None) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
