"""Options of verbs that read a pipeline file: where includes of other projects come from, and how old they may be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import click
import msgspec

from protocol.display import clean
from protocol.errors import UsageError

if TYPE_CHECKING:
    from pipeline.includes.fetching import Fetching

Locking: TypeAlias = Literal["add", "update"]
"""What a lock file is written with: its own versions and those of new includes, or new versions of all."""
Command = TypeVar("Command", bound=Callable[..., Any])


class FetchOptions(msgspec.Struct, frozen=True):
    """The values of the options of `fetch_options`."""

    server: str | None = None
    templates: str | None = None
    refresh: bool = False
    offline: bool = False
    allow_local: bool = False

    def fetching(self, file: Path, *, locking: Locking | None = None) -> Fetching:
        """How to fetch the includes of the pipeline file `file`: at the versions of its lock file, if it has one.

        Git and ssh may ask for passwords only if this process has a terminal. Raises PipelineFileError for a damaged
        lock file.
        """
        from pipeline.includes.cached_project import Freshness
        from pipeline.includes.fetching import Fetching, parse_templates
        from pipeline.includes.lock_file import lock_path, read_lock

        terminal = sys.stderr.isatty()
        lock = lock_path(file)
        return Fetching(
            server=self.server or "",
            templates=parse_templates(self.templates) if self.templates else None,
            freshness=Freshness(self.refresh or locking == "update", self.offline),
            locked=None if locking == "update" else read_lock(lock),
            lock_file=str(lock),
            locking=locking is not None,
            allow_local=self.allow_local,
            progress=_say if terminal else None,
            interactive=terminal and sys.stdin.isatty(),
        )


def _say(text: str) -> None:
    print(f"longshore: {clean(text)}", file=sys.stderr, flush=True)


def fetch_options(command: Command) -> Command:
    """Adds the options to a verb and passes them to its function as `fetch`, a FetchOptions."""

    @wraps(command)
    def with_fetch(
        *args: Any,
        server: str | None,
        templates: str | None,
        refresh: bool,
        offline: bool,
        allow_local_includes: bool,
        **options: Any,
    ) -> Any:
        if refresh and offline:
            raise UsageError("--refresh asks the servers and --offline asks none; give one of them")
        fetch = FetchOptions(server, templates, refresh, offline, allow_local_includes)
        return command(*args, fetch=fetch, **options)

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
            click.option(
                "--allow-local-includes",
                is_flag=True,
                envvar="LONGSHORE_ALLOW_LOCAL_INCLUDES",
                help="Let `include:remote` and components of other servers reach this machine and its network link.",
            ),
        )
    ):
        with_fetch = option(with_fetch)
    return with_fetch  # type: ignore[return-value]
