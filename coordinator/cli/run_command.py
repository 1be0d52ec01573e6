"""The verb `run`: compile, pack, submit, follow, sum up."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import click

from coordinator.cli.main import INTERRUPTED
from coordinator.cli.options import Where, coordinator_option
from coordinator.cli.variables import file_argument, file_options, variable_option
from protocol.errors import CoordinatorUnreachable
from protocol.plan import Variable
from protocol.statuses import ExecutionStatus

if TYPE_CHECKING:
    from coordinator.cli.compiling import Project
    from coordinator.cli.follow import Follower
    from coordinator.cli.session import Session
    from protocol.views import RunView

IMPORT_AFTER = 0.1
"""Seconds after which a container is on its way, in which nothing is to be done here."""
EXIT_STATUS = {ExecutionStatus.FAILED: 1, ExecutionStatus.CANCELED: 3}
"""By the run's status; for all others it is 0."""


@click.command("run")
@file_argument
@click.option("-d", "--detach", is_flag=True, help="Print the run's id and leave it to the coordinator.")
@variable_option
@click.option("--job", "jobs", metavar="NAME", multiple=True, help="Only this job and what it needs. May be repeated.")
@file_options
@click.option("--default-image", metavar="IMAGE", help="The image of jobs for which the file names none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document of the run on stdout, its logs on stderr.")
@click.option("--plain", is_flag=True, help="Only lines, as where there is no terminal: no live view below them.")
@coordinator_option
def run_command(
    where: Where,
    file: Path,
    detach: bool,
    variables: list[Variable],
    jobs: tuple[str, ...],
    projects: dict[str, Path],
    inputs: dict[str, str],
    default_image: str | None,
    as_json: bool,
    plain: bool,
) -> int:
    """Run the pipeline of FILE (the repository's .gitlab-ci.yml) on its files as they are now, and follow it to its
    end.

    Without a coordinator it is run right here, in Docker. Ctrl-C then cancels the run; at a coordinator that is
    named, it only ends the following.
    """
    from coordinator.cli.compiling import compile_for_run
    from coordinator.pipelinefile import Repository

    repository = Repository(file.resolve().parent)
    git = ThreadPoolExecutor(1, "git")  # each question to git takes a process's time, in which others can be imported
    git.submit(repository.ask)
    files = git.submit(repository.listing)
    from coordinator.cli.session import acting_session, import_ahead, running_session

    if not detach:
        import_ahead(where)
    project = compile_for_run(file, variables, jobs, projects, inputs, default_image, repository)
    with _hang_up_is_no_end(), (acting_session if detach else running_session)(where) as session:
        run = _submit(session, project, files)
        if detach:
            return _leave(session, run, as_json=as_json)
        return _follow(session, run, project, cancels=where.coordinator is None, as_json=as_json, plain=plain)


def _submit(session: Session, project: Project, files: Future[set[str]]) -> int:
    from coordinator.cli.snapshot import write_snapshot

    token = uuid4().hex
    with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
        snapshot = write_snapshot(project.root, Path(folder) / "workspace.tar", files.result())
        while True:
            try:
                session.client.upload(snapshot.path)
                if session.embedded is not None:
                    session.embedded.wait_for_engine()
                return session.client.submit_run(
                    project.plan, snapshot.digest, snapshot.size, source=project.source, token=token
                )
            except CoordinatorUnreachable:
                session.again()


def _leave(session: Session, run: int, *, as_json: bool) -> int:
    if as_json:
        from coordinator.cli.as_json import print_json, run_json

        print_json(run_json(session.client.get_run(run)))
    else:
        click.echo(run)
    return 0


def _follow(session: Session, run: int, project: Project, *, cancels: bool, as_json: bool, plain: bool) -> int:
    from coordinator.cli.follow import Follower
    from coordinator.cli.progress import Progress

    stages: dict[str, list[str]] = {stage: [] for stage in project.plan.stages}
    for job in project.plan.jobs:
        stages[job.stage].append(job.name)
    stream = sys.stderr if as_json else sys.stdout
    live = stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb") and not plain
    progress = Progress(run, stages, stream, live=live)
    follower = Follower(session, run, progress)
    Thread(target=_import_ahead, name="import", daemon=True).start()
    with closing(progress):
        with _interrupts(follower):
            view = follower.follow()
        if view is None and cancels:
            progress.say(f"canceling run {run}; Ctrl-C again leaves that to a background process")
            session.client.cancel(run)
            view = follower.follow()
    if view is None:
        progress.say(f"run {run} goes on; `longshore logs {run} -f` follows it, `longshore cancel {run}` cancels it")
        return INTERRUPTED
    progress.sum_up(view)
    if as_json:
        from coordinator.cli.as_json import print_json, run_json

        print_json(run_json(view))
    return exit_status(view)


def exit_status(run: RunView) -> int:
    """What `run` ends with. A run that waits for somebody to play a job has not failed, unless one of its jobs has."""
    jobs = [job for stage in run.stages for job in stage.jobs]
    if run.status is ExecutionStatus.MANUAL and any(
        job.status is ExecutionStatus.FAILED and not job.allow_failure for job in jobs
    ):
        return EXIT_STATUS[ExecutionStatus.FAILED]
    return EXIT_STATUS.get(run.status, 0)


def _import_ahead() -> None:
    """What the summary needs, while the run goes on: at its end nobody has to wait for it.

    Not at its beginning: threads of this process that have an engine to talk to would wait for the interpreter.
    """
    time.sleep(IMPORT_AFTER)
    import coordinator.cli.tables  # noqa: F401


@contextmanager
def _interrupts(follower: Follower) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the following where it does no harm, the next one at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        follower.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


class _HungUp(BaseException):
    """The terminal is gone; the run is not to go with it."""


@contextmanager
def _hang_up_is_no_end() -> Iterator[None]:
    """SIGHUP lets the session close in order, so that a run in this process is handed over to one in the background."""

    def hang_up(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _HungUp

    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        yield
        return
    before = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    except _HungUp:
        sys.exit(128 + signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
