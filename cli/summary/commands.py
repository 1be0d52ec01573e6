"""The commands that a run's end names for a failed job."""

from __future__ import annotations

import shlex

from cli.summary.outcome import Failure


def log_command(failure: Failure) -> str:
    """The command that prints the whole log; "" if there is none."""
    return _command("logs", failure) if failure.log_bytes else ""


def retry_command(failure: Failure) -> str:
    """The command that runs the job again."""
    return _command("retry", failure)


def retry_with_workspace_command(failure: Failure) -> str:
    """The command that runs the job again on the files as they are then; "" if no worker runs it."""
    job = failure.job
    runs_elsewhere = bool(job.child_runs or job.downstream_project or job.mirrors)
    return "" if runs_elsewhere else _command("retry", failure, " --with-workspace")


def shell_command(failure: Failure) -> str:
    """The command that opens a shell in the job's container; "" if that was not kept."""
    return _command("shell", failure) if failure.job.kept_until is not None else ""


def show_command(failure: Failure) -> str:
    """The command that shows the job with all of its failed tests."""
    return _command("show", failure)


def _command(verb: str, failure: Failure, options: str = "") -> str:
    name = failure.job.name
    where = f"--coordinator {shlex.quote(failure.coordinator)} " if failure.coordinator else ""
    separator = "-- " if name.startswith("-") else ""
    return f"longshore {where}{verb}{options} {separator}{failure.run} {shlex.quote(name)}"
