"""The verb `run`: compile, pack, submit, follow, sum up."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from cli.options.common import Target, coordinator_option
from cli.options.serving import ANY_TAG, Serving, ServingCommand, serving_options
from cli.process.interrupts import Interrupted, Interrupts
from cli.submit.variables import file_argument, file_options, variable_option
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.plan import Variable
from protocol.statuses import ExecutionStatus

if TYPE_CHECKING:
    from cli.follow.progress import Progress
    from cli.session.session import Session
    from cli.submit.compile import Project
    from protocol.views import RunView

BREAKS_AFTER_ASKING = 2
"""The press that ends trying again to submit a run that the coordinator may have taken already."""
IMPORT_AFTER = 0.1
"""Seconds after which a container is on its way, in which nothing is to be done here."""
EXIT_STATUS = {ExecutionStatus.FAILED: 1, ExecutionStatus.CANCELED: 3}
"""By the run's status; for all others it is 0."""


@click.command("run", cls=ServingCommand, in_project=True)
@file_argument
@click.option("-d", "--detach", is_flag=True, help="Print the run's id and leave it to the coordinator.")
@variable_option
@click.option("--job", "jobs", metavar="NAME", multiple=True, help="Only this job and what it needs. May be repeated.")
@file_options
@click.option("--default-image", metavar="IMAGE", help="The image of jobs for which the file names none.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document of the run on stdout, its logs on stderr.")
@click.option("--plain", is_flag=True, help="Only lines, as where there is no terminal: no live view below them.")
@coordinator_option
@serving_options
def run_command(
    where: Target,
    serving: Serving,
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

    Without a coordinator it is run right here, in Docker, and the tags of its jobs choose nothing unless --label gives
    labels. Ctrl-C then cancels the run; at a coordinator that is named, it only ends the following.
    """
    interrupts = Interrupts()
    interrupts.install()
    try:
        with interrupts.breaks():
            from cli.submit.compile import compile_for_run
            from pipeline import Repository

            repository = Repository(file.resolve().parent)
            git = ThreadPoolExecutor(1, "git")  # a question to git takes a process's time; others can be imported
            git.submit(repository.ask)
            files = git.submit(repository.listing)
            from cli.session.session import acting_session, import_ahead, running_session

            if not detach:
                import_ahead(where)
            project = compile_for_run(file, variables, jobs, projects, inputs, default_image, repository)
        open_session = acting_session if detach else running_session
        with open_session(where, serving, interrupts.waits) as session:
            _say_what_counts(session, where, serving, project)
            run = _submit(session, project, files, interrupts)
            if detach:
                return _leave(session, run, interrupts, as_json=as_json)
            following = _Following(session, run, interrupts, cancels=where.coordinator is None)
            return following.to_the_end(project, as_json=as_json, plain=plain)
    except Interrupted as interrupted:
        _say(interrupted.told)
        return interrupted.status


def _say_what_counts(session: Session, where: Target, serving: Serving, project: Project) -> None:
    """Names the options that have no effect, and says once that tags choose nothing where they do not."""
    options = ", ".join(serving.given if where.coordinator else serving.meant)
    if options and not session.serves:
        _say(
            f"no effect here: {options}. The coordinator at {session.client.address} runs already; "
            "what is allowed and kept is said where it and its workers were started"
        )
    if serving.not_allowed and where.coordinator is None:
        _say(serving.not_allowed)
    tagged = sum(bool(job.tags) for job in project.plan.jobs)
    if not tagged or where.coordinator is not None:
        return
    if session.serves:
        labels = [*serving.labels]
    else:
        try:
            labels = [label for worker in session.client.workers() for label in worker.labels]
        except CoordinatorUnreachable:  # the next request finds who serves then
            return
    if ANY_TAG in labels:
        what = "1 job has tags, which choose" if tagged == 1 else f"{tagged} jobs have tags, which choose"
        _say(f"{what} no worker here; --label L would choose by them")


def _submit(session: Session, project: Project, files: Future[set[str]], interrupts: Interrupts) -> int:
    """The new run's id. Signals break in before the run is asked for; from then on its id is waited for."""
    from cli.submit.snapshot import write_snapshot

    token = uuid4().hex
    asked = False
    with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
        with interrupts.breaks():
            snapshot = write_snapshot(project.root, Path(folder) / "workspace.tar", files.result())
        while True:
            try:
                with interrupts.breaks(BREAKS_AFTER_ASKING if asked else 1):
                    session.client.upload(snapshot.path)
                    if session.embedded is not None:
                        session.embedded.wait_for_engine()
                asked = True
                return session.client.submit_run(
                    project.plan, snapshot.digest, snapshot.size, source=project.source, token=token
                )
            except CoordinatorUnreachable:
                try:
                    session.again()
                except Interrupted as interrupted:
                    if not asked:
                        raise
                    unknown = "the coordinator does not answer; `longshore list` tells whether it has taken the run"
                    raise Interrupted(interrupted.status, unknown) from interrupted


def _leave(session: Session, run: int, interrupts: Interrupts, *, as_json: bool) -> int:
    if as_json:
        from cli.render.json_views import print_json, run_json

        print_json(run_json(session.client.get_run(run)))
    else:
        click.echo(run)
    if not interrupts.presses:
        return 0
    _say(f"run {run} was submitted already and goes on; `longshore cancel {run}` cancels it")
    return interrupts.status


class _Following:
    """Follows a run that was submitted, and cancels it (if it `cancels`) when somebody asks this process to end.

    The first press cancels the run, the next one leaves that to whoever serves it then. Where it does not cancel, the
    first one ends the following.
    """

    def __init__(self, session: Session, run: int, interrupts: Interrupts, *, cancels: bool) -> None:
        self._session = session
        self._run = run
        self._interrupts = interrupts
        self._cancels = cancels
        self._canceled = False
        interrupts.patience = 2 if cancels else 1

    def to_the_end(self, project: Project, *, as_json: bool, plain: bool) -> int:
        """The exit status of `run`."""
        from cli.follow.progress import Progress

        stages: dict[str, list[str]] = {stage: [] for stage in project.plan.stages}
        for job in project.plan.jobs:
            stages[job.stage].append(job.name)
        stream = sys.stderr if as_json else sys.stdout
        live = stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb") and not plain
        progress = Progress(self._run, stages, stream, live=live)
        Thread(target=_import_ahead, name="import", daemon=True).start()
        view = None
        try:
            with closing(progress):
                view = self._follow(progress)
        except Interrupted:
            pass  # nobody answered, and somebody would not wait
        except OSError:  # nobody reads what it prints any more
            self._say_what_goes_on()
            raise
        if view is None:
            self._say_what_goes_on()
            return self._interrupts.status
        progress.sum_up(view)
        if as_json:
            from cli.render.json_views import print_json, run_json

            print_json(run_json(view))
        return exit_status(view)

    def _follow(self, progress: Progress) -> RunView | None:
        from cli.follow.follower import Follower

        follower = Follower(self._session, self._run, progress)
        if not self._cancels:
            with self._interrupts.breaks(2):
                return follower.follow(lambda: self._interrupts.presses > 0)
        view = follower.follow(lambda: self._interrupts.presses > 0)
        if view is not None or self._interrupts.hung_up:
            return view
        progress.say(f"canceling run {self._run}; Ctrl-C again does not wait until its containers have stopped")
        self._cancel()
        return follower.follow(lambda: self._interrupts.presses > 1 or self._interrupts.hung_up)

    def _cancel(self) -> None:
        while not self._canceled:
            try:
                self._session.client.cancel(self._run)
                self._canceled = True
            except CoordinatorUnreachable:
                self._session.again()
            except UsageError:  # it has ended meanwhile
                return

    def _say_what_goes_on(self) -> None:
        run = self._run
        if self._canceled:
            self._session.leaves_containers = True
            _say(f"run {run} is being canceled; a background process sees that through")
        else:
            _say(f"run {run} goes on; `longshore logs {run} -f` follows it, `longshore cancel {run}` cancels it")


def _say(text: str) -> None:
    from protocol.display import clean

    with suppress(OSError):  # the terminal may be gone
        print(f"longshore: {clean(text)}", file=sys.stderr, flush=True)


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
    import cli.render.tables  # noqa: F401
