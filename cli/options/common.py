"""What several verbs take: how a coordinator is named, where state is kept. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from protocol.places import state_directory

if TYPE_CHECKING:
    pass

log_json_option = click.option("--log-json", is_flag=True, help="Log JSON objects instead of lines.")
until_eof_option = click.option("--until-eof", is_flag=True, hidden=True, help="End when stdin does: `up` is gone.")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Target:
    """Where runs are: at the coordinator at this address, or (None) in this user's state directory."""

    coordinator: str | None
    state: Path


def coordinator_option(command: Command) -> Command:
    """Gives a verb the option --coordinator, and its function a `Target` as first argument."""

    @click.pass_context
    def with_where(ctx: click.Context, /, *args: Any, coordinator: str | None, **options: Any) -> Any:
        named = coordinator or ctx.find_root().obj or os.environ.get("LONGSHORE_COORDINATOR") or None
        return ctx.invoke(command, Target(named, state_directory()), *args, **options)

    with_where.__name__ = command.__name__
    with_where.__doc__ = command.__doc__
    with_where.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    option = click.option("--coordinator", metavar="ADDRESS", help="The coordinator to talk to, tcp://HOST:PORT.")
    return option(with_where)  # type: ignore[return-value]
