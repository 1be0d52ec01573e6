"""Watches the clock for schedules: asks the coordinator for them, and sends what has come due.

A decision that is lost with this process is made again by the next one: only the coordinator keeps state.
"""

from __future__ import annotations

import logging
import time

from protocol import messages as m
from protocol.client import Client
from protocol.errors import LongshoreError
from protocol.schedules import ScheduleView
from team.schedules import due, next_due

log = logging.getLogger(__name__)

REFRESH_EVERY = 10.0
"""Seconds until schedules are asked for again: new ones, and runs that have ended."""


class ScheduleWatch:
    """One part of the launcher; see `team.launcher.Part`."""

    def __init__(self) -> None:
        self._schedules: list[ScheduleView] = []
        self._refresh_at = self._next_due = float("-inf")

    def step(self, client: Client, now: float) -> None:
        """Deals with what is due at `now`. Raises LongshoreError if the coordinator can't be reached: the next call
        tries again.
        """
        mono = time.monotonic()
        if mono < self._refresh_at and now < self._next_due:
            return
        self._refresh_at = mono + REFRESH_EVERY
        self._schedules = client.request(m.ListSchedules, m.ScheduleList).schedules
        decisions = due(self._schedules, now)
        for each in decisions:
            fields = {"considered_until": each.considered_until, "waiting": each.waiting, "note": each.note}
            try:
                client.request(m.AdvanceSchedule, m.Done, schedule=each.schedule, fire=each.fire, **fields)
            except LongshoreError as error:  # of a schedule that was removed meanwhile
                log.warning("schedule %d: %s", each.schedule, error)
            else:
                log.info("schedule %d: %s", each.schedule, "starts a run" if each.fire is not None else each.note)
        self._next_due = next_due(self._schedules)
        if decisions:
            self._refresh_at = float("-inf")
