"""Entry point of the `longshore` command: resolves the verb and turns errors into a message and an exit status.

Imports only click at module level; a verb's module is loaded when the verb is called.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import NoReturn

import click

from cli.process import interpreter
from protocol import VERSION
from protocol.errors import LongshoreError

INTERRUPTED = 130
"""Exit status after Ctrl-C, by shell convention."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A subcommand's module and its help line, stored here so that help does not import the module."""

    module: str
    help: str
    hidden: bool = False


VERBS = {
    "run": Verb("run", "Run a pipeline and follow it until it ends."),
    "plan": Verb("plan", "Show the plan of a pipeline file without running it."),
    "validate": Verb("validate", "Check a pipeline file for errors."),
    "lock": Verb("lock", "Lock the versions of fetched includes."),
    "list": Verb("read", "List runs."),
    "show": Verb("read", "Show a run, a job, or the reason for a job's status."),
    "logs": Verb("read", "Print the log of a run or a job."),
    "artifacts": Verb("artifacts", "List and fetch the artifacts of a run or a job."),
    "tests": Verb("tests", "List tests that fail, are flaky, or are slow."),
    "shell": Verb("job_container", "Open a shell in the container of a running or kept job."),
    "exec": Verb("job_container", "Run a command in the container of a running or kept job."),
    "drop": Verb("job_container", "Remove kept containers."),
    "cancel": Verb("act", "Cancel a run or one of its jobs."),
    "retry": Verb("act", "Retry jobs that did not succeed."),
    "play": Verb("act", "Start a manual job."),
    "environments": Verb("environments", "List environments, or stop one."),
    "releases": Verb("releases", "List releases."),
    "pages": Verb("pages", "List and download the pages that a run has published."),
    "workers": Verb("read", "List workers."),
    "drain": Verb("act", "Stop assigning new jobs to a worker."),
    "token": Verb("token", "Create and list join tokens for workers and users."),
    "login": Verb("login", "Redeem a join token."),
    "keys": Verb("keys", "List and revoke enrolled keys."),
    "secret": Verb("secret", "Manage secret variables."),
    "project": Verb("project", "Manage projects, whose pushes start runs."),
    "schedule": Verb("schedule", "Manage the times at which projects start runs."),
    "hook": Verb("hook", "Start runs by the git hook of a repository on this host."),
    "audit": Verb("audit", "Show the audit log."),
    "config": Verb("config", "Show each setting and its source."),
    "backup": Verb("backup", "Back up the state directory while its coordinator runs."),
    "doctor": Verb("doctor", "Check Docker, disk and state; remove leftovers."),
    "completion": Verb("completion", "Print a shell's completion script."),
    "up": Verb("up", "Start a coordinator and workers on this machine."),
    "coordinator": Verb("coordinator", "Start a coordinator."),
    "worker": Verb("worker", "Start a worker."),
    "web": Verb("web", "Serve webhooks and git pushes."),
    "tui": Verb("tui", "Open the dashboard."),
    "launcher": Verb("launcher", "Start the runs of projects.", hidden=True),
    "background": Verb("background", "Finish the runs that an embedded coordinator left unfinished.", hidden=True),
}


class LazyGroup(click.Group):
    """A click group that imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, verb in VERBS.items() if not verb.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"cli.commands.{VERBS[cmd_name].module}")
        commands = (found for found in vars(module).values() if isinstance(found, click.Command))
        return next(command for command in commands if command.name == cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command: {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, VERBS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--coordinator", "coordinator", metavar="ADDRESS", help="Coordinator to connect to, tcp://HOST:PORT.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda *a: _print_version(*a),
    help="Show the version and exit.",
)
@click.option(
    "-C",
    "directories",
    metavar="DIR",
    multiple=True,
    help="Act as if started in DIR. Repeatable: each one is relative to the one before.",
)
@click.pass_context
def cli(ctx: click.Context, coordinator: str | None, directories: tuple[str, ...]) -> None:
    """Run GitLab-CI pipelines on your own machines, from a laptop to a fleet.

    Select a coordinator with --coordinator or LONGSHORE_COORDINATOR. Without one, `run` starts its own coordinator and
    worker, and stores runs and logs in LONGSHORE_STATE (default: $XDG_STATE_HOME/longshore), where the other commands
    read them.

    \b
    Exit status:
      0  success
      1  the run failed
      2  bad usage or an invalid pipeline file
      3  the run was canceled
      4  the coordinator is unreachable
    """
    for directory in directories:
        _change_to(directory)
    ctx.obj = coordinator


def _change_to(directory: str) -> None:
    """An empty one is the directory itself, as for git."""
    try:
        os.chdir(directory or ".")
    except OSError as error:
        raise click.UsageError(f"-C {directory}: {error.strerror}") from None


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"longshore {VERSION}")
        ctx.exit()


def main() -> NoReturn:
    """Runs the verb named on the command line and exits with its status."""
    interpreter.begin()
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        from io import StringIO

        from protocol.display import clean_lines

        output = StringIO()
        error.show(file=output)
        sys.stderr.write(clean_lines(output.getvalue()))
        status = error.exit_code
    except LongshoreError as error:
        from protocol.display import clean_lines

        print(f"longshore: {clean_lines(str(error))}", file=sys.stderr)
        status = error.exit_status
    except BrokenPipeError:
        # The output's reader closed it early, which is no failure; flushing at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except OSError as error:
        from protocol.display import clean_lines

        print(f"longshore: {clean_lines(str(error))}", file=sys.stderr)
        status = 1
    interpreter.end(status if isinstance(status, int) else 0)
