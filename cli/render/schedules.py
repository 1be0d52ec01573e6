"""Schedules as rows and JSON. Fields of the documents may be added, never changed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Any

from cli.render.json_views import rfc3339
from protocol.cron import Cron, zone_of
from protocol.schedules import ScheduleSpec, ScheduleView

NEXT = 3
"""Next due times that are shown."""


def next_times(spec: ScheduleSpec, now: float) -> list[str]:
    """The next due times, in the schedule's own time zone with its offset."""
    zone = zone_of(spec.timezone)
    due = islice(Cron(spec.cron, spec.timezone).after(now), NEXT)
    return [datetime.fromtimestamp(at, zone).isoformat(timespec="minutes") for at in due]


def schedule_rows(schedules: Iterable[ScheduleView], now: float, *, for_people: bool) -> list[dict[str, Any]]:
    """One row per schedule, in their order."""
    return [_row(view, now) if for_people else _document(view, now) for view in schedules]


def _row(view: ScheduleView, now: float) -> dict[str, Any]:
    spec = view.spec
    last = f"run {view.last_run} {view.last_status}" if view.last_run else view.last_status
    return {
        "id": view.id,
        "project": spec.project,
        "cron": spec.cron,
        "timezone": spec.timezone,
        "ref": spec.ref or "default branch",
        "next": "paused" if view.paused else "\n".join(next_times(spec, now)),
        "last": last,
        "note": view.note,
        "description": spec.description,
    }


def _document(view: ScheduleView, now: float) -> dict[str, Any]:
    spec = view.spec
    return {
        "id": view.id,
        "project": spec.project,
        "cron": spec.cron,
        "timezone": spec.timezone,
        "ref": spec.ref or None,
        "variables": {variable.key: variable.value for variable in spec.variables},
        "description": spec.description,
        "missed": spec.missed,
        "overlap": spec.overlap,
        "paused": view.paused,
        "next": [] if view.paused else next_times(spec, now),
        "last_due": rfc3339(view.last_due),
        "last_run": view.last_run,
        "last_status": view.last_status or None,
        "note": view.note or None,
        "created_at": rfc3339(view.created_at),
        "created_by": view.created_by,
    }
