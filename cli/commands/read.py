"""Read-only verbs: list, show, logs, workers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cli.options.common import Target, coordinator_option, output_option
from cli.options.quantities import Moment
from cli.session.session import ReadingSession, Session, reading_session
from protocol.errors import UsageError
from protocol.messages import RunFilter
from protocol.statuses import UNFINISHED, ExecutionStatus
from protocol.views import JobView, RunSummary, RunView

if TYPE_CHECKING:
    from cli.render.output import Output
    from protocol.client import Client

json_option = output_option("Print one JSON document instead of a table.")
run_argument = click.argument("run", type=click.IntRange(min=1))


@click.command("list")
@json_option
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=50,
    show_default=True,
    help="Maximum number of runs.",
)
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in ExecutionStatus]),
    multiple=True,
    help="Only runs with this status. Repeatable.",
)
@click.option("--branch", metavar="NAME", help="Only runs of this branch or tag.")
@click.option("--project", metavar="NAME", help="Only runs of this project.")
@click.option("--job", metavar="NAME", help="Only runs with a job of this name.")
@coordinator_option
def list_command(
    where: Target,
    output: Output,
    limit: int,
    statuses: tuple[str, ...],
    branch: str | None,
    project: str | None,
    job: str | None,
) -> None:
    """List runs, newest first; with several of --status, --branch, --project and --job, those that meet all."""
    only = RunFilter(statuses=list(map(ExecutionStatus, statuses)), ref=branch, project=project, job=job)
    with reading_session(where) as session:
        runs = session.client.list_runs(limit, only=only)
    if only == RunFilter():
        output.runs(runs)
    else:
        output.runs(runs, "no run matches")
    _note_unserved(session, runs, output.note)


@click.command("show")
@run_argument
@click.argument("job", required=False)
@click.option("--why", is_flag=True, help="Explain the status: print the event history of RUN's jobs, or of JOB.")
@click.option("--watch", is_flag=True, help="Keep updating until the run ends.")
@json_option
@coordinator_option
def show_command(where: Target, run: int, job: str | None, why: bool, watch: bool, output: Output) -> None:
    """Show RUN with its jobs, or JOB with its attempts; with --why, the history of their status."""
    if watch and (job or why or not output.for_people):
        raise click.UsageError("--watch shows a run's jobs; omit JOB, --why and --json")
    with reading_session(where) as session:
        view = session.client.get_run(run)
        if watch and not _note_unserved(session, [view], output.note):
            from cli.follow.watch import watch_run

            watch_run(session, view)
            return
        jobs = [find_job(view, job)] if job else [job for stage in view.stages for job in stage.jobs]
        details = {each.name: session.client.get_job(run, each.name) for each in jobs} if job or why else {}
        children = child_runs(session.client, view) if output.for_people and not details else {}
    if why:
        output.history(view, details, alone=job is not None)
    elif job:
        output.job(view, jobs[0], details[job])
    else:
        output.run(view, children)
    if not watch:
        _note_unserved(session, [view], output.note)


@click.command("logs")
@run_argument
@click.argument("job", required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the run (or the job) ends.")
@click.option(
    "--attempt", type=click.IntRange(min=1), metavar="N", help="Print the log of this earlier attempt of JOB."
)
@click.option("--service", metavar="NAME", help="Print the log of JOB's service with this name or alias.")
@click.option("--children", is_flag=True, help="Print the logs of the runs that RUN's jobs have started too.")
@click.option(
    "-t", "--timestamps", "times", is_flag=True, help="Begin each line with the time at which the worker read it (UTC)."
)
@click.option(
    "--since",
    type=Moment(),
    help="Only lines from this time on: '10 min' for 10 minutes ago, or '2026-05-31T14:30:00Z'.",
)
@click.option("--grep", "pattern", metavar="REGEX", default="", help="Only lines with a match of this RE2 expression.")
@click.option("-n", "--tail", "last", type=click.IntRange(min=1), metavar="N", help="Only the last N lines of a log.")
@click.option("--raw", is_flag=True, help="Print every byte to a terminal too, including control sequences.")
@coordinator_option
def logs_command(
    where: Target,
    run: int,
    job: str | None,
    follow: bool,
    attempt: int | None,
    service: str | None,
    children: bool,
    times: bool,
    since: int | None,
    pattern: str,
    last: int | None,
    raw: bool,
) -> None:
    """Print the log of JOB, or the logs of all jobs of RUN, each line prefixed with the job's name.

    A file or a pipe gets every byte of the log; a terminal gets text and colours only. --since, --grep and --tail
    together choose the last N lines that match since then; the coordinator finds them, so that only they are
    transferred.
    """
    if attempt and not job:
        raise click.UsageError("--attempt needs a JOB")
    if attempt and follow:
        raise click.UsageError("an earlier attempt has ended and can't be followed; omit -f")
    if service and (follow or not job):
        raise click.UsageError("--service needs a JOB and can't be followed; omit -f")
    if service and (times or since is not None):
        raise click.UsageError("a service's log is read when its job ends, so its lines have no times")
    if children and job:
        raise click.UsageError("--children concerns a whole run; omit JOB")
    from cli.follow.log_printer import LogOptions, follow_logs, print_log, print_logs, print_service_log
    from cli.follow.stored_lines import LineChoice
    from protocol.log_lines import LinePattern
    from protocol.regular_expressions import BadPattern

    try:
        LinePattern(pattern)
    except BadPattern as error:
        raise click.UsageError(f"--grep: {error}") from None
    options = LogOptions(raw=raw, times=times, choice=LineChoice(pattern=pattern, since=since, last=last))
    with reading_session(where) as session:
        view = session.client.get_run(run)
        if job:
            find_job(view, job)
        unserved = _note_unserved(session, [view], _say)
        if job and service:
            print_service_log(session.client, run, job, service, attempt, options)
        elif follow and not unserved:
            follow_logs(session, view, job, children=children, options=options)
        elif job:
            print_log(session.client, run, job, attempt, options)
        else:
            print_logs(session.client, view, child_runs(session.client, view) if children else {}, options)


@click.command("workers")
@json_option
@coordinator_option
def workers_command(where: Target, output: Output) -> None:
    """List workers."""
    with reading_session(where) as session:
        workers = session.client.workers()
    output.workers(workers)


def child_runs(client: Client, run: RunView) -> dict[int, RunView]:
    """The newest run that each job of a run has started, at any depth, by id; without those that retention removed."""
    found: dict[int, RunView] = {}
    for job in (job for stage in run.stages for job in stage.jobs if job.child_runs):
        with suppress(UsageError):
            child = found[job.child_runs[-1]] = client.get_run(job.child_runs[-1])
            found |= child_runs(client, child)
    return found


def find_job(run: RunView, name: str) -> JobView:
    """The job of this name. Raises UsageError listing the existing jobs."""
    jobs = {job.name: job for stage in run.stages for job in stage.jobs}
    if name not in jobs:
        raise UsageError(f"run {run.id} has no job {name!r}; it has: {', '.join(jobs)}")
    return jobs[name]


def _say(text: str) -> None:
    click.echo(text, err=True)


def _note_unserved(session: Session, runs: list[RunSummary] | list[RunView], note: Callable[[str], object]) -> bool:
    """Warns about unfinished runs that no process serves."""
    stuck = [str(run.id) for run in runs if run.status in UNFINISHED - {ExecutionStatus.MANUAL}]
    if not stuck or not isinstance(session, ReadingSession):
        return False
    note(
        f"unfinished, and no process is running it: run {', '.join(stuck)}. "
        "The next `longshore run` or `longshore up` resumes it."
    )
    return True
