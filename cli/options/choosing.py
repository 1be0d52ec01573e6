"""Options of `run` that choose the jobs to run, and where the artifacts of the others come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from cli.submit.choice import Choice

Command = TypeVar("Command", bound=Callable[..., Any])


def choice_options(command: Command) -> Command:
    """Adds the options to a verb and passes a `Choice` to its function as `choice`."""

    @wraps(command)
    def with_choice(
        *args: Any, jobs: tuple[str, ...], start: str | None, no_needs: bool, reuse: int | None, **options: Any
    ) -> Any:
        choice = Choice(jobs, start or "", no_needs, reuse)
        choice.check()
        return command(*args, choice=choice, **options)

    for option in (
        click.option(
            "--reuse",
            metavar="RUN",
            type=click.IntRange(min=1),
            help="With --from or --no-needs: use the artifacts of RUN; default: the latest of the same branch.",
        ),
        click.option("--no-needs", is_flag=True, help="With --job: do not run the jobs it needs."),
        click.option("--from", "start", metavar="JOB", help="Run only this job and those after it."),
        click.option(
            "--job", "jobs", metavar="NAME", multiple=True, help="Run only this job and the jobs it needs. Repeatable."
        ),
    ):
        with_choice = option(with_choice)
    return with_choice  # type: ignore[return-value]
