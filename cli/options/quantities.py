"""Option types for durations and sizes."""

from __future__ import annotations

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
