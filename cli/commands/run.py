"""The verb `run`: compiles, packs, submits and follows a pipeline, and prints a summary."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import click
import msgspec

from cli.options.choosing import choice_options
from cli.options.common import Target, coordinator_option, output_option
from cli.options.fetching import FetchOptions, fetch_options
from cli.options.keeping import KeepDuration, keep_request
from cli.options.serving import ANY_TAG, Serving, ServingCommand, serving_options
from cli.process.interrupts import Interrupted, Interrupts
from cli.submit.choice import Choice
from cli.submit.variables import file_argument, file_options, variable_option
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.plan import Variable
from protocol.statuses import ExecutionStatus

if TYPE_CHECKING:
    from cli.follow.progress import Progress
    from cli.render.output import Output
    from cli.session.session import Session
    from cli.submit.compile import Project
    from cli.submit.other_projects import OtherProjects
    from cli.submit.workspace.maker import WorkspaceMaker
    from cli.summary.outcome import Outcome
    from protocol.views import RunView

BREAKS_AFTER_ASKING = 2
"""The signal that ends retries of a submission the coordinator may already have accepted."""
IMPORT_AFTER = 0.1
"""Seconds after submission at which the first container is starting and this process is idle."""
EXIT_STATUS = {ExecutionStatus.FAILED: 1, ExecutionStatus.CANCELED: 3}
"""Exit status by run status; 0 for all others."""


@click.command("run", cls=ServingCommand, in_project=True)
@file_argument
@click.option("-d", "--detach", is_flag=True, help="Print the run's id and exit; the coordinator continues the run.")
@variable_option
@choice_options
@file_options
@fetch_options
@click.option("--default-image", metavar="IMAGE", help="Image of jobs that name none.")
@output_option("Print the run as one JSON document to stdout, its logs to stderr.")
@click.option(
    "--artifacts",
    "artifacts",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Put each job's artifacts and reports into DIR/JOB when it ends.",
)
@click.option("--keep-on-failure", "keep_failed", is_flag=True, help="Keep the containers of jobs that fail.")
@click.option("--keep", "kept", metavar="JOB", multiple=True, help="Keep the container of JOB. Repeatable.")
@click.option(
    "--keep-for",
    "keep_for",
    metavar="DURATION",
    type=KeepDuration(),
    help="How long containers are kept (default: 1 hour), or until `longshore drop`.",
)
@click.option("--watch", is_flag=True, help="Run again what changed files touch, until Ctrl-C.")
@click.option("--cancel-on-interrupt", "cancels", is_flag=True, hidden=True, help="Let Ctrl-C cancel in any case.")
@click.option("--plain", is_flag=True, help="Print lines only, without the live view, as without a terminal.")
@coordinator_option
@serving_options
def run_command(
    where: Target,
    serving: Serving,
    file: Path,
    detach: bool,
    variables: list[Variable],
    choice: Choice,
    projects: dict[str, Path],
    inputs: dict[str, str],
    fetch: FetchOptions,
    default_image: str | None,
    output: Output,
    artifacts: Path | None,
    keep_failed: bool,
    kept: tuple[str, ...],
    keep_for: float | None,
    watch: bool,
    cancels: bool,
    plain: bool,
) -> int:
    """Run the pipeline of FILE (default: the repository's .gitlab-ci.yml) on its files as they are now, and follow it
    until it and the runs that its jobs start have ended.

    Without a coordinator, the run executes on this machine in Docker; job tags are ignored unless --label sets labels,
    and Ctrl-C cancels the run. With a coordinator, Ctrl-C only stops following.
    """
    if artifacts is not None and detach:
        raise UsageError("--artifacts needs a run that is followed; omit -d, or use `longshore artifacts RUN -o DIR`")
    keep = keep_request(keep_failed, kept, keep_for)
    if watch:
        if keep is not None:
            raise UsageError("--watch runs jobs again and again; omit --keep-on-failure and --keep")
        if detach or not output.for_people:
            raise UsageError("--watch follows its runs on the terminal; omit -d and --json")
        return _watch(file, variables, projects, inputs, fetch, artifacts)
    interrupts = Interrupts()
    interrupts.install()
    try:
        with ExitStack() as stack:
            with interrupts.breaks():
                from pipeline.git_repository import Repository

                repository = Repository(file.resolve().parent)
                git = ThreadPoolExecutor(1, "git")  # a git query waits for its process; imports use that time
                git.submit(repository.ask)
                from cli.submit.workspace.maker import workspace_maker

                maker = stack.enter_context(closing(workspace_maker(repository)))
                git.submit(maker.read)
                from cli.session.session import acting_session, import_ahead, running_session
                from cli.submit.compile import compile_for_run, keeping

                if not detach:
                    import_ahead(where)
                project = compile_for_run(
                    file, variables, choice, projects, inputs, default_image, repository, fetch.fetching(file)
                )
                project = keeping(project, keep)
                others = stack.enter_context(closing(_others(project, projects, fetch))) if projects else None
            open_session = acting_session if detach else running_session
            with open_session(where, serving, interrupts.waits) as session:
                project = _with_artifacts(session, project, choice)
                _say_what_counts(session, where, serving, project)
                run = _submit(session, project, maker, others, interrupts)
                if detach:
                    return _leave(session, run, interrupts, output)
                cancels = cancels or where.coordinator is None
                following = _Following(session, run, interrupts, cancels=cancels, coordinator=where.given)
                return following.to_the_end(project, output, artifacts, plain=plain)
    except Interrupted as interrupted:
        _say(interrupted.message)
        return interrupted.status


def _watch(
    file: Path,
    variables: list[Variable],
    projects: dict[str, Path],
    inputs: dict[str, str],
    fetch: FetchOptions,
    artifacts: Path | None,
) -> int:
    from cli.follow.rerunning import Watch, own_arguments
    from pipeline import Compilation, Repository, compile_pipeline

    values = {variable.key: variable.value for variable in variables}

    def compile_now() -> Compilation:
        repository = Repository(file.resolve().parent)
        return compile_pipeline(
            file,
            repository=repository,
            variables=values,
            projects=projects,
            inputs=inputs,
            fetching=fetch.fetching(file),
        )

    root = Repository(file.resolve().parent).root
    return Watch(root, own_arguments(sys.argv[1:]), compile_now, artifacts).until_interrupted()


def _with_artifacts(session: Session, project: Project, choice: Choice) -> Project:
    """The project whose jobs get the artifacts that they need of earlier runs; names those runs."""
    if not project.borrowed:
        return project
    from cli.submit.reuse import borrow

    plan, origins = borrow(project, session.client, choice.reuse)
    jobs: dict[int, list[str]] = {}
    for job, run in origins.items():
        jobs.setdefault(run, []).append(job)
    for run, names in jobs.items():
        _say(f"using the artifacts of {', '.join(names)} of run {run}")
    return msgspec.structs.replace(project, plan=plan)


def _say_what_counts(session: Session, where: Target, serving: Serving, project: Project) -> None:
    """Warns of options without effect, of permissions not granted, and of ignored tags."""
    options = ", ".join(serving.given if where.coordinator else serving.meant)
    if options and not session.serves:
        _say(
            f"no effect here: {options}. The coordinator at {session.client.address} is already running; "
            "set permissions and retention where it and its workers are started"
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
        except CoordinatorUnreachable:  # the next request finds its successor
            return
    if ANY_TAG in labels:
        what = "1 job has tags" if tagged == 1 else f"{tagged} jobs have tags"
        _say(f"{what}, which are ignored here; set worker labels with --label L")


def _others(project: Project, projects: dict[str, Path], fetch: FetchOptions) -> OtherProjects:
    from cli.submit.other_projects import OtherProjects

    return OtherProjects(project.plan, projects, fetch.fetching)


def _submit(
    session: Session,
    project: Project,
    maker: WorkspaceMaker,
    others: OtherProjects | None,
    interrupts: Interrupts,
) -> int:
    """Submits the run and returns its id. Signals interrupt only before the request is sent; after that it waits."""
    token = uuid4().hex
    asked = False
    while True:
        try:
            with interrupts.breaks(BREAKS_AFTER_ASKING if asked else 1):
                workspace = maker.upload(project.plan, session.client)
                brought = others.upload(session.client) if others is not None else []
                if session.embedded is not None:
                    session.embedded.wait_for_engine()
            asked = True
            run = session.client.submit_run(
                project.plan, workspace, source=project.source, token=token, projects=brought
            )
        except CoordinatorUnreachable:
            try:
                session.again()
            except Interrupted as interrupted:
                if not asked:
                    raise
                unknown = "the coordinator does not answer; `longshore list` shows whether it has accepted the run"
                raise Interrupted(interrupted.status, unknown) from interrupted
        else:
            maker.submitted()
            if others is not None:
                others.submitted()
            return run


def _leave(session: Session, run: int, interrupts: Interrupts, output: Output) -> int:
    output.submitted(run, lambda: session.client.get_run(run))
    if not interrupts.presses:
        return 0
    _say(f"run {run} was already submitted and continues; `longshore cancel {run}` cancels it")
    return interrupts.status


class _Following:
    """Follows a submitted run; if `cancels`, a request to end this process cancels the run.

    The first signal cancels the run, the next leaves the cancellation to the next owner. Without `cancels`, the first
    signal stops following.
    """

    def __init__(
        self, session: Session, run: int, interrupts: Interrupts, *, cancels: bool, coordinator: str | None
    ) -> None:
        self._session = session
        self._coordinator = coordinator
        self._run = run
        self._interrupts = interrupts
        self._cancels = cancels
        self._canceled = False
        self._children: dict[int, RunView] = {}
        interrupts.patience = 2 if cancels else 1

    def to_the_end(self, project: Project, output: Output, artifacts: Path | None, *, plain: bool) -> int:
        """Follows the run to its end and returns the exit status of `run`. With `artifacts`, lays them there."""
        from cli.follow.progress import Progress
        from cli.summary.json_views import outcome_json

        stages: dict[str, list[str]] = {stage: [] for stage in project.plan.stages}
        for job in project.plan.jobs:
            stages[job.stage].append(job.name)
        stream = output.logs
        live = stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb") and not plain
        progress = Progress(self._run, stages, stream, live=live)
        Thread(target=_import_ahead, name="import", daemon=True).start()
        view = None
        failures: list[str] = []
        try:
            with closing(progress):
                if artifacts is None:
                    view = self._follow(progress)
                else:
                    view, failures = self._follow_and_lay(progress, artifacts, project)
        except Interrupted:
            pass  # the coordinator is unreachable, and the user ended the wait
        except OSError:  # our output's reader has exited
            self._say_what_goes_on()
            raise
        if view is None:
            self._say_what_goes_on()
            return self._interrupts.status
        found = self._outcome(view)
        progress.sum_up(view, self._children, found)
        for failure in failures:
            progress.say(failure)
        output.ended(view, lambda: outcome_json(found))
        return exit_status(view) or bool(failures)

    def _outcome(self, view: RunView) -> Outcome:
        from cli.summary.outcome import outcome

        def reconnect() -> None:
            try:
                self._session.again()
            except Interrupted as interrupted:  # the user does not wait for what the logs say
                raise CoordinatorUnreachable(interrupted.message) from interrupted

        return outcome(lambda: self._session.client, view, self._children, reconnect, self._coordinator)

    def _follow_and_lay(
        self, progress: Progress, artifacts: Path, project: Project
    ) -> tuple[RunView | None, list[str]]:
        from cli.artifacts.fetching import Fetcher
        from cli.artifacts.laying import Laying

        session = self._session
        jobs = [job.name for job in project.plan.jobs]
        with Laying(artifacts, jobs, lambda: session.client.another()) as laying:
            progress.when_ended(laying.job_ended)
            view = self._follow(progress)
            if view is None:
                return None, []
            fetcher = Fetcher(lambda: session.client, session.again)
            return view, laying.finish(view, self._children, fetcher, lambda: self._interrupts.presses > 1)

    def _follow(self, progress: Progress) -> RunView | None:
        from cli.follow.follower import Follower

        follower = Follower(self._session, self._run, progress, children=True)
        self._children = follower.children
        if not self._cancels:
            with self._interrupts.breaks(2):
                return follower.follow(lambda: self._interrupts.presses > 0)
        view = follower.follow(lambda: self._interrupts.presses > 0)
        if view is not None or self._interrupts.hung_up:
            return view
        progress.say(f"canceling run {self._run}; Ctrl-C again stops waiting for its containers to stop")
        self._cancel()
        return follower.follow(lambda: self._interrupts.presses > 1 or self._interrupts.hung_up)

    def _cancel(self) -> None:
        while not self._canceled:
            try:
                self._session.client.cancel(self._run)
                self._canceled = True
            except CoordinatorUnreachable:
                self._session.again()
            except UsageError:  # it has ended in the meantime
                return

    def _say_what_goes_on(self) -> None:
        run = self._run
        if self._canceled:
            self._session.leaves_containers = True
            _say(f"run {run} is being canceled; a background process finishes that")
        else:
            _say(f"run {run} continues; `longshore logs {run} -f` follows it, `longshore cancel {run}` cancels it")


def _say(text: str) -> None:
    from protocol.display import clean

    with suppress(OSError):  # the terminal may be gone
        print(f"longshore: {clean(text)}", file=sys.stderr, flush=True)


def exit_status(run: RunView) -> int:
    """Exit status of `run`. A run that waits for a manual job has not failed, unless one of its jobs has."""
    jobs = [job for stage in run.stages for job in stage.jobs]
    if run.status is ExecutionStatus.MANUAL and any(
        job.status is ExecutionStatus.FAILED and not job.allow_failure for job in jobs
    ):
        return EXIT_STATUS[ExecutionStatus.FAILED]
    return EXIT_STATUS.get(run.status, 0)


def _import_ahead() -> None:
    """Imports the summary's modules while the run is in progress, so that its end does not wait for them.

    Not at the start: the imports would hold the interpreter while other threads talk to the engine.
    """
    time.sleep(IMPORT_AFTER)
    import cli.render.tables
    import cli.summary.outcome
    import cli.summary.text  # noqa: F401
