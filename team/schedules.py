"""Decides which due times of schedules start runs. Pure: the launcher tells the time and sends the decisions.

Every evaluation deals with all due times since the one before: the latest may start a run, earlier ones were missed.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from protocol.cron import Cron
from protocol.errors import UsageError
from protocol.schedules import ScheduleView

GRACE = 300.0
"""Seconds after which a due time counts as missed: longer than a restart of the coordinator and its launcher."""
CLOCK_STEP = 3600.0
"""A schedule considered until so many seconds in the future was evaluated with a wrong clock."""


class Advance(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a schedule's due times up to `considered_until`; see protocol.messages.AdvanceSchedule."""

    schedule: int
    considered_until: float
    fire: float | None = None
    waiting: float | None = None
    note: str = ""


def due(schedules: list[ScheduleView], now: float) -> list[Advance]:
    """The decisions that are due at `now`, in seconds since the epoch; of other schedules, nothing changes."""
    found = (advance(schedule, now) for schedule in schedules if not schedule.paused)
    return [each for each in found if each is not None]


def advance(schedule: ScheduleView, now: float) -> Advance | None:
    """The decision about one schedule; None while nothing is due."""
    if schedule.considered_until > now + CLOCK_STEP:
        return Advance(schedule=schedule.id, considered_until=now, waiting=schedule.waiting_due, note=schedule.note)
    try:
        latest = _cron(schedule.spec.cron, schedule.spec.timezone).latest(schedule.considered_until, now)
    except (UsageError, OverflowError, OSError) as error:  # checked when added, but by other time zones
        return None if schedule.note == str(error) else _nothing(schedule, schedule.considered_until, str(error))
    if latest is None:
        waits = schedule.waiting_due
        if waits is None or schedule.busy:
            return None
        return Advance(schedule=schedule.id, considered_until=schedule.considered_until, fire=waits)
    if now - latest > GRACE and schedule.spec.missed == "skip":
        return _nothing(schedule, latest, f"missed at {_at(latest)}: nobody watched the clock")
    if not schedule.busy or schedule.spec.overlap == "allow":
        return Advance(schedule=schedule.id, considered_until=latest, fire=latest)
    if schedule.spec.overlap == "skip":
        return _nothing(schedule, latest, f"skipped at {_at(latest)}: {_last(schedule)} was not over")
    note = f"due since {_at(latest)}: waits for the end of {_last(schedule)}"
    return Advance(schedule=schedule.id, considered_until=latest, waiting=latest, note=note)


def next_due(schedules: list[ScheduleView]) -> float:
    """The first time at which one of the schedules comes due; infinite if none does."""
    return min((_next(schedule) for schedule in schedules if not schedule.paused), default=math.inf)


def _next(schedule: ScheduleView) -> float:
    try:
        cron = _cron(schedule.spec.cron, schedule.spec.timezone)
        return next(cron.after(schedule.considered_until), math.inf)
    except (UsageError, OverflowError, OSError):
        return math.inf


_cron = lru_cache(maxsize=1000)(Cron)


def _nothing(schedule: ScheduleView, until: float, note: str) -> Advance:
    return Advance(schedule=schedule.id, considered_until=until, waiting=schedule.waiting_due, note=note)


def _last(schedule: ScheduleView) -> str:
    return f"run {schedule.last_run}" if schedule.last_run else "its last trigger"


def _at(due: float) -> str:
    return datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%d %H:%M UTC")
