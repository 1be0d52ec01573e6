"""The hidden verb that finishes the runs an embedded coordinator left unfinished, and ends its kept containers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options.serving import (
    Serving,
    ServingCommand,
    serving_options,
)
from cli.process.signals import on_signals
from cli.session.progressing import jobs_of, waits_for_user
from cli.session.state_directory import LOCK_RETRY_SECONDS, LOCK_SECONDS
from protocol.statuses import UNFINISHED, ExecutionStatus

if TYPE_CHECKING:
    from protocol.client import Client
    from protocol.views import RunSummary

FIRST_IDLE_SECONDS = 15.0
"""Time to wait for the first run, submitted by the verb that started this process."""


IDLE_SECONDS = 2.0
"""Time to stay up after the last run ends, for clients that still follow it."""


IDLE_POLL_SECONDS = 0.5


RUNS_LOOKED_AT = 1000


@click.command("background", hidden=True, cls=ServingCommand, settings_of="run")
@click.argument("state", type=click.Path(path_type=Path))
@serving_options
def background_command(serving: Serving, state: Path) -> None:
    """Serve the state directory STATE until all of its runs end."""
    from cli.process.log_setup import log_to_stderr
    from cli.session.embedded import Embedded
    from cli.session.state_directory import StateDirectory
    from protocol.client import Client

    log_to_stderr()
    stopped = threading.Event()
    on_signals(stopped.set)
    directory = StateDirectory(state)
    deadline = time.monotonic() + LOCK_SECONDS
    while not directory.try_lock():
        if directory.owner() is not None or time.monotonic() > deadline:
            return  # another process already serves it
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
        idle_seconds = IDLE_SECONDS  # a run was submitted during shutdown
    directory.release()


def _until_idle(client: Client, check: Callable[[], None], stopped: threading.Event, idle_seconds: float) -> None:
    """Returns after `idle_seconds` without a run that goes on by itself, or a kept container; once one was seen, after
    IDLE_SECONDS.
    """
    newest_before: int | None = None
    busy_at = time.monotonic()
    while True:
        check()
        runs = client.list_runs(RUNS_LOOKED_AT)
        newest = max((run.id for run in runs), default=0)
        newest_before = newest if newest_before is None else newest_before
        goes_on = _goes_on(client, [run for run in runs if run.status in UNFINISHED]) or any(
            worker.kept for worker in client.workers()
        )
        if goes_on or newest > newest_before:
            idle_seconds = IDLE_SECONDS
        if goes_on:
            busy_at = time.monotonic()
        if time.monotonic() - busy_at >= idle_seconds or stopped.wait(IDLE_POLL_SECONDS):
            return


def _goes_on(client: Client, unfinished: Sequence[RunSummary]) -> bool:
    """Whether one of these runs goes on without a user. Asks for the jobs of those only that may wait for a child."""
    parents = {run.parent.run for run in unfinished if run.parent is not None}
    if any(run.status is not ExecutionStatus.MANUAL and run.id not in parents for run in unfinished):
        return True
    statuses = {run.id: run.status for run in unfinished}
    return any(not waits_for_user(run, statuses, lambda id: jobs_of(client.get_run(id))) for run in statuses)
