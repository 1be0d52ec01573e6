"""The options of `run` that keep jobs' containers after their end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cli.options.quantities import Duration
from protocol.errors import UsageError
from protocol.plan import KeepRequest

KEEP_SECONDS = 3600.0
"""How long containers are kept by default: long enough to look at them, short enough to forget them."""


class KeepDuration(Duration):
    """A duration with an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds is None:
            self.fail("a container is kept for a while only; use '2 hours' or '3 days'", param, ctx)
        return seconds


def keep_request(failed: bool, jobs: Sequence[str], seconds: float | None) -> KeepRequest | None:
    """What --keep-on-failure, --keep and --keep-for ask for. Raises UsageError if the last one is alone."""
    if not failed and not jobs:
        if seconds is not None:
            raise UsageError("--keep-for needs --keep-on-failure or --keep JOB")
        return None
    return KeepRequest(seconds=KEEP_SECONDS if seconds is None else seconds, failed=failed, jobs=list(jobs))
