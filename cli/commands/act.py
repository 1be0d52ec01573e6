"""Commands that change a run or a worker through the coordinator: cancel, retry, play, drain."""

from __future__ import annotations

import sys

import click

from cli.commands.read import run_argument
from cli.options.common import Target, coordinator_option
from cli.session.session import acting_session, reading_session
from cli.submit.variables import job_input_option, variable_option
from protocol.display import clean
from protocol.plan import Variable


@click.command("cancel")
@run_argument
@click.argument("job", required=False)
@coordinator_option
def cancel_command(where: Target, run: int, job: str | None) -> None:
    """Cancel RUN, or only its job JOB. Containers stop within seconds; after_script still runs."""
    with acting_session(where) as session:
        count = session.client.cancel(run, job)
    click.echo(f"canceled {_jobs(count)} of run {run}")


@click.command("retry")
@run_argument
@click.argument("job", required=False)
@click.option("--failed", is_flag=True, help="Retry only failed jobs, not canceled ones.")
@job_input_option
@click.option(
    "--with-workspace",
    is_flag=True,
    help="Run JOB on the project's files as they are now. Its artifacts, needs and variables are the run's.",
)
@coordinator_option
def retry_command(
    where: Target, run: int, job: str | None, failed: bool, inputs: dict[str, str], with_workspace: bool
) -> None:
    """Retry all jobs of RUN that did not succeed, or only JOB, and the jobs that depend on them.

    With --with-workspace, this one try of JOB gets the files of the project in the current directory; other jobs, and
    later tries, have those that the run was started with.
    """
    if job and failed:
        raise click.UsageError("--failed applies to a whole run; omit it or JOB")
    if inputs and not job:
        raise click.UsageError("--input sets an input of one job; name the JOB")
    if with_workspace and not job:
        raise click.UsageError("--with-workspace gives one job the files as they are now; name the JOB")
    files = ""
    with acting_session(where) as session:
        if with_workspace and job:
            from cli.submit.own_workspace import own_workspace

            with own_workspace(session.client, run, job) as own:
                count = session.client.retry(run, job, inputs=inputs, workspace=own.workspace, project=own.project)
            files = f", {clean(job)} on the files of {clean(str(own.root))}"
            if not count:
                click.echo(f"{clean(job)} of run {run} has these files already; `longshore logs {run} -f` follows")
                return
        else:
            count = session.client.retry(run, job, failed_only=failed, inputs=inputs)
    click.echo(f"{_jobs(count)} of run {run} will be retried{files}; `longshore logs {run} -f` follows")


@click.command("play")
@run_argument
@click.argument("job")
@variable_option
@job_input_option
@click.option("--yes", is_flag=True, help="Skip the job's `manual_confirmation` prompt.")
@coordinator_option
def play_command(
    where: Target, run: int, job: str, variables: list[Variable], inputs: dict[str, str], yes: bool
) -> None:
    """Start the manual job JOB of RUN, or start a delayed job early."""
    with acting_session(where) as session:
        question = session.client.get_job(run, job).job.manual_confirmation
        if question and not yes and sys.stdin.isatty():
            click.confirm(clean(question), abort=True, err=True)
        session.client.play(run, job, variables, inputs)
    click.echo(f"started {clean(job)} of run {run}; `longshore logs {run} -f` follows")


@click.command("drain")
@click.argument("worker")
@click.option("--off", is_flag=True, help="Resume assigning jobs to the worker.")
@coordinator_option
def drain_command(where: Target, worker: str, off: bool) -> None:
    """Stop assigning new jobs to WORKER; its running jobs continue."""
    with reading_session(where) as session:
        session.client.drain(worker, on=not off)
    name = clean(worker)
    click.echo(f"{name} takes jobs again" if off else f"{name} takes no new jobs")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
