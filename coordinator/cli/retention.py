"""The options of the verbs that run a coordinator: what it keeps of finished runs, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FOR_EVER = ("never", "0", "")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90 days`, `12h`, or `never`: seconds, or None."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from coordinator.pipelinefile.quantities import seconds_of

        if not isinstance(value, str):
            return value
        if value.strip().lower() in FOR_EVER:
            return None
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is no duration; give one as '90 days', '12h', or 'never'", param, ctx)
        return seconds


class Size(click.ParamType):  # type: ignore[type-arg]
    """`20G`, `500m`: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from coordinator.pipelinefile.quantities import bytes_of

        if not isinstance(value, str):
            return value
        size = bytes_of(value)
        if size is None:
            self.fail(f"{value!r} is no size; give one as '20G' or '500m'", param, ctx)
        return size


def retention_options(command: Command) -> Command:
    """Gives a verb --keep-runs, --keep-artifacts and --keep-size, and its function a `Retention` as `retention`."""

    @click.pass_context
    def with_retention(ctx: click.Context, /, *args: Any, **options: Any) -> Any:
        from coordinator.retention import Retention

        runs, artifacts, size = (options.pop(name) for name in ("keep_runs", "keep_artifacts", "keep_size"))
        return ctx.invoke(command, Retention(runs_for=runs, artifacts_for=artifacts, size=size), *args, **options)

    with_retention.__name__ = command.__name__
    with_retention.__doc__ = command.__doc__
    with_retention.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option(
            "--keep-size",
            type=Size(),
            metavar="SIZE",
            help="Remove the oldest finished runs when logs and files take more than this (20G); default: no limit.",
        ),
        click.option(
            "--keep-artifacts",
            type=Duration(),
            metavar="DURATION",
            help="Remove artifacts so long after their job, unless it says less itself; default: with their run.",
        ),
        click.option(
            "--keep-runs",
            type=Duration(),
            metavar="DURATION",
            help="Remove finished runs, with their logs and files, so long after their end (90 days); default: never.",
        ),
    ):
        option(with_retention)
    return with_retention  # type: ignore[return-value]
