"""Options common to several verbs: the coordinator's address and the state directory. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from protocol.places import state_directory

if TYPE_CHECKING:
    from cli.render.output import Output

log_json_option = click.option("--log-json", is_flag=True, help="Log JSON objects instead of lines.")
until_eof_option = click.option("--until-eof", is_flag=True, hidden=True, help="Exit when stdin closes: `up` ended.")

Command = TypeVar("Command", bound=Callable[..., Any])


class Target(msgspec.Struct, frozen=True):
    """Location of the runs: the coordinator at this address, or (None) this user's state directory.

    `given` is the address if it was given on the command line.
    """

    coordinator: str | None
    state: Path
    given: str | None = None


def output_option(text: str) -> Callable[[Command], Command]:
    """The option --json of a verb, which passes an `Output` to its function; `text` says what the document replaces."""

    def chosen(_ctx: click.Context, _option: click.Parameter, as_json: bool) -> Output:
        from cli.render.output import JsonOutput, TextOutput

        return JsonOutput() if as_json else TextOutput()

    return click.option("--json", "output", is_flag=True, callback=chosen, help=text)


def coordinator_option(command: Command) -> Command:
    """Adds the option --coordinator to a verb and passes a `Target` to its function as first argument."""

    @click.pass_context
    def with_where(ctx: click.Context, /, *args: Any, coordinator: str | None, **options: Any) -> Any:
        given = coordinator or ctx.find_root().obj or None
        named = given or os.environ.get("LONGSHORE_COORDINATOR") or None
        return ctx.invoke(command, Target(named, state_directory(), given), *args, **options)

    with_where.__name__ = command.__name__
    with_where.__doc__ = command.__doc__
    with_where.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    option = click.option("--coordinator", metavar="ADDRESS", help="Coordinator to connect to, tcp://HOST:PORT.")
    return option(with_where)  # type: ignore[return-value]
