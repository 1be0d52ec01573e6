"""Option types for durations, times and sizes."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import click

FOR_EVER = ("never", "0", "")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`90 days`, `12h`, or `never`: seconds, or None."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from pipeline.units import seconds_of

        if not isinstance(value, str):
            return value
        if value.strip().lower() in FOR_EVER:
            return None
        seconds = seconds_of(value)
        if seconds is None:
            self.fail(f"{value!r} is not a duration; use '90 days', '12h' or 'never'", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]
    """`10 min`, so long before now, or a time by ISO 8601, in the local zone unless it names one: ms since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from pipeline.units import seconds_of

        if not isinstance(value, str):
            return value
        if (seconds := seconds_of(value)) is not None:
            return int((time.time() - seconds) * 1000)
        try:
            return max(0, int(datetime.fromisoformat(value).timestamp() * 1000))
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time; use '10 min' for 10 minutes ago, or '2026-05-31T14:30:00Z'", param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]
    """`20G`, `500m`: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from pipeline.units import bytes_of

        if not isinstance(value, str):
            return value
        size = bytes_of(value)
        if size is None:
            self.fail(f"{value!r} is not a size; use '20G' or '500m'", param, ctx)
        return size
