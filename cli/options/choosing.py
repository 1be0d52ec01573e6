"""Options of `run` that choose the jobs to run, and where the artifacts of the others come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import click
import msgspec

from protocol.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


class Choice(msgspec.Struct, frozen=True):
    """The jobs that a user has asked for: `jobs` with all their needs, or without them; or those from `start` on."""

    jobs: Sequence[str] = ()
    start: str = ""
    no_needs: bool = False
    reuse: int | None = None

    def check(self) -> None:
        """Raises UsageError for options that do not belong together."""
        if self.start and (self.jobs or self.no_needs):
            raise UsageError("--from runs a job and all after it; omit --job and --no-needs")
        if self.no_needs and not self.jobs:
            raise UsageError("--no-needs runs jobs without what they need; name one by --job")
        if self.reuse is not None and not self.is_partial:
            raise UsageError("--reuse is for artifacts of jobs that do not run; give --from or --no-needs too")

    @property
    def is_partial(self) -> bool:
        """Whether jobs are left out that others need."""
        return bool(self.start) or self.no_needs


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
