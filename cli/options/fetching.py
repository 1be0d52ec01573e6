"""Options of verbs that read a pipeline file: where includes of other projects come from, and how old they may be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from protocol.display import clean
from protocol.errors import UsageError

if TYPE_CHECKING:
    from pipeline.includes.fetching import Fetching

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """The values of the options of `fetch_options`."""

    server: str | None = None
    templates: str | None = None
    refresh: bool = False
    offline: bool = False

    def fetching(self) -> Fetching:
        """How to fetch includes. Git and ssh may ask for passwords only if this process has a terminal."""
        from pipeline.includes.cached_project import Freshness
        from pipeline.includes.fetching import Fetching, parse_templates

        terminal = sys.stderr.isatty()
        return Fetching(
            server=self.server or "",
            templates=parse_templates(self.templates) if self.templates else None,
            freshness=Freshness(self.refresh, self.offline),
            progress=_say if terminal else None,
            interactive=terminal and sys.stdin.isatty(),
        )


def _say(text: str) -> None:
    print(f"longshore: {clean(text)}", file=sys.stderr, flush=True)


def fetch_options(command: Command) -> Command:
    """Adds the options to a verb and passes them to its function as `fetch`, a FetchOptions."""

    @wraps(command)
    def with_fetch(
        *args: Any, server: str | None, templates: str | None, refresh: bool, offline: bool, **options: Any
    ) -> Any:
        if refresh and offline:
            raise UsageError("--refresh asks the servers and --offline asks none; give one of them")
        return command(*args, fetch=FetchOptions(server, templates, refresh, offline), **options)

    for option in reversed(
        (
            click.option(
                "--server",
                metavar="URL",
                help="Git server of included projects; default: that of the remote `origin`.",
            ),
            click.option(
                "--templates",
                metavar="REF",
                help="Ref of GitLab's own project that `include:template` reads, or URL[@REF] of a copy.",
            ),
            click.option("--refresh", is_flag=True, help="Ask the servers again, however new the includes are."),
            click.option("--offline", is_flag=True, help="Fetch nothing: use the includes that were fetched before."),
        )
    ):
        with_fetch = option(with_fetch)
    return with_fetch  # type: ignore[return-value]
