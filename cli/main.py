"""The `longshore` command's door: finds the verb, and turns errors into one message and an exit status.

Imports nothing of size but click at its top: a verb's module is loaded when the verb is called.
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
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One subcommand: where it lives and the line that help shows, so that help needs not load it."""

    module: str
    help: str
    hidden: bool = False


VERBS = {
    "run": Verb("run", "Run a pipeline file and follow it to its end."),
    "plan": Verb("plan", "Show what a pipeline file would run."),
    "validate": Verb("plan", "Check a pipeline file."),
    "list": Verb("read", "List runs."),
    "show": Verb("read", "Show a run, a job, or why a job stands where it does."),
    "logs": Verb("read", "Print the log of a run or a job."),
    "cancel": Verb("act", "Cancel a run or one of its jobs."),
    "retry": Verb("act", "Try again what did not succeed."),
    "play": Verb("act", "Start a manual job."),
    "workers": Verb("read", "List workers."),
    "drain": Verb("act", "Let a worker take no new jobs."),
    "token": Verb("token", "Let workers and people join."),
    "login": Verb("login", "Use a join token up, to be let in at its coordinator."),
    "keys": Verb("keys", "See who has joined, and shut somebody out."),
    "secret": Verb("secret", "Keep variables that nobody may see."),
    "audit": Verb("audit", "Show who did what, and when."),
    "config": Verb("config", "Show settings, and where each comes from."),
    "backup": Verb("backup", "Copy the state directory while its coordinator is at work."),
    "doctor": Verb("doctor", "Check Docker, disk and state; remove what nobody comes back for."),
    "up": Verb("up", "Start a coordinator and workers on this machine."),
    "coordinator": Verb("coordinator", "Start a coordinator."),
    "worker": Verb("worker", "Start a worker."),
    "tui": Verb("tui", "Open the dashboard."),
    "background": Verb("background", "Finish what an embedded run left unfinished.", hidden=True),
}


class LazyGroup(click.Group):
    """A group that knows its verbs by name and imports a verb's module only to call it."""

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
            raise click.UsageError(f"no such verb: {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, VERBS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--coordinator", "coordinator", metavar="ADDRESS", help="The coordinator to talk to, tcp://HOST:PORT.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=lambda *a: _print_version(*a))
@click.pass_context
def cli(ctx: click.Context, coordinator: str | None) -> None:
    """Run GitLab-CI pipelines on your own machines, from a laptop to a fleet.

    LONGSHORE_COORDINATOR names the coordinator, as --coordinator does. Without one, `run` needs nothing else: it
    brings a coordinator and a worker of its own, and keeps runs and logs in LONGSHORE_STATE
    ($XDG_STATE_HOME/longshore unless set), where the other verbs read them.

    Exit status: 0 the run succeeded (or the verb did), 1 it failed, 2 bad usage or a bad pipeline file, 3 it was
    canceled, 4 the coordinator can't be reached.
    """
    ctx.obj = coordinator


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"longshore {VERSION}")
        ctx.exit()


def main() -> NoReturn:
    """Runs the verb that the command line names and ends the process with its status."""
    interpreter.begin()
    try:
        status = cli.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        from io import StringIO

        from protocol.display import clean_lines

        told = StringIO()
        error.show(file=told)
        sys.stderr.write(clean_lines(told.getvalue()))
        status = error.exit_code
    except LongshoreError as error:
        from protocol.display import clean_lines

        print(f"longshore: {clean_lines(str(error))}", file=sys.stderr)
        status = error.exit_status
    except BrokenPipeError:
        # Whoever read our output has had enough of it; that is no failure, and flushing at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except OSError as error:
        from protocol.display import clean_lines

        print(f"longshore: {clean_lines(str(error))}", file=sys.stderr)
        status = 1
    interpreter.end(status if isinstance(status, int) else 0)
