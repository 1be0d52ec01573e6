"""Schedules: cron expressions by which a project starts runs. Pure data; see docs/team.md."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from protocol.plan import Variable
from protocol.views import View

MissedPolicy = Literal["run-once", "skip"]
"""What becomes of due times while nobody watched the clock: one run for all of them, or none."""
OverlapPolicy = Literal["skip", "queue", "allow"]
"""What becomes of a due time while the schedule's last run goes on: no run, one after it, or one beside it."""
MISSED_POLICIES: tuple[str, ...] = get_args(MissedPolicy)
OVERLAP_POLICIES: tuple[str, ...] = get_args(OverlapPolicy)


class ScheduleSpec(View, frozen=True, kw_only=True, omit_defaults=True):
    """What a user sets of a schedule. `ref` is a branch or tag; empty: the project's default branch."""

    project: str
    cron: str
    timezone: str = "UTC"
    ref: str = ""
    variables: list[Variable] = msgspec.field(default_factory=list)
    description: str = ""
    missed: MissedPolicy = "run-once"
    overlap: OverlapPolicy = "skip"


class ScheduleView(View, frozen=True, kw_only=True, omit_defaults=True):
    """One schedule. Times are seconds since the epoch.

    Due times up to `considered_until` have been dealt with; `waiting_due` is one that waits for the last run to end.
    `last_due` is that of the last trigger, `last_run` its run, if it has started one. `last_status` is the run's
    status; before there is one, the trigger's state. `busy`: that run, or its trigger, has not ended. `note` says why
    the last due time started no run.
    """

    id: int
    spec: ScheduleSpec
    paused: bool = False
    created_at: float = 0.0
    created_by: str = ""
    considered_until: float = 0.0
    waiting_due: float | None = None
    last_due: float | None = None
    last_run: int | None = None
    last_status: str = ""
    busy: bool = False
    note: str = ""


def schedule_key(schedule: int, due: float) -> str:
    """The key of the trigger of a due time: each starts at most one run."""
    return f"schedule:{schedule}:{due:.0f}"
