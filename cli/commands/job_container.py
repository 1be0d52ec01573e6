"""Verbs about a job's container: exec, shell, drop."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click

from cli.commands.read import run_argument
from cli.options.common import Target, coordinator_option
from cli.session.session import acting_session
from protocol.errors import UsageError


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal, as `longshore shell` does.")
@run_argument
@click.argument("job")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@coordinator_option
def exec_command(where: Target, tty: bool, run: int, job: str, command: tuple[str, ...]) -> int:
    """Run COMMAND in the container of JOB of RUN, which is running or was kept (run --keep-on-failure, --keep JOB).

    It gets the job's variables and project directory; stdin, stdout and stderr are passed on byte by byte, with the
    job's secrets masked. The exit status is the command's, or 255 if its end is unknown.
    """
    if command[0] == "--":
        command = command[1:]
    if not command:
        raise click.UsageError("name a COMMAND")
    if tty:
        _check_terminal("exec -t")
    return _run(where, run, job, command, tty=tty)


@click.command("shell")
@run_argument
@click.argument("job")
@coordinator_option
def shell_command(where: Target, run: int, job: str) -> int:
    """Open a shell in the container of JOB of RUN, which is running or was kept (run --keep-on-failure, --keep JOB).

    It is bash if the image has it, in the job's project directory, with the job's variables. There,
    `longshore-script` runs the job's script again, `longshore-script --from LINE` from a line on, and
    `longshore-script --list` shows its lines. The job's secrets are masked in all that the shell prints.

    The exit status is the shell's, or 255 if its end is unknown.
    """
    _check_terminal("shell")
    return _run(where, run, job, (), tty=True)


@click.command("drop")
@run_argument
@click.argument("job", required=False)
@coordinator_option
def drop_command(where: Target, run: int, job: str | None) -> None:
    """Remove the kept containers of RUN, or that of JOB, before their time."""
    with acting_session(where) as session:
        count = session.client.drop(run, job)
    click.echo(f"dropped {'1 kept container' if count == 1 else f'{count} kept containers'} of run {run}")


def _check_terminal(verb: str) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"`longshore {verb}` needs a terminal; without one, use `longshore exec RUN JOB -- COMMAND`")


def _run(where: Target, run: int, job: str, arguments: tuple[str, ...], *, tty: bool) -> int:
    from cli.terminal.bridge import Bridge
    from cli.terminal.raw_mode import raw_mode, reset_screen, this_terminal
    from protocol.remote_command import RemoteCommand

    with acting_session(where) as session:
        command = RemoteCommand(session.client, run, job, arguments, this_terminal() if tty else None)
        bridge = Bridge(command, tty=tty)
        with raw_mode() if tty else nullcontext():
            try:
                return bridge.run()
            finally:
                if tty and not bridge.ended:
                    reset_screen()
