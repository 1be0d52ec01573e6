"""Messages about schedules: from users and the launcher. Pure data."""

from __future__ import annotations

from protocol.messages.shared import Message
from protocol.schedules import ScheduleSpec, ScheduleView

# --- to the coordinator ----------------------------------------------------------------------------------------------


class AddSchedule(Message, frozen=True, kw_only=True, tag="add_schedule"):
    """Adds a schedule to a project. Answer: ScheduleAdded.

    `token` is chosen by the client and makes the request idempotent.
    """

    id: int
    token: str
    schedule: ScheduleSpec


class PauseSchedule(Message, frozen=True, kw_only=True, tag="pause_schedule"):
    """Pauses a schedule, or resumes it: due times of the pause count as neither missed nor due. Answer: Done."""

    id: int
    schedule: int
    on: bool = True


class RemoveSchedule(Message, frozen=True, kw_only=True, tag="remove_schedule"):
    """Removes a schedule; its runs stay. Answer: Done."""

    id: int
    schedule: int


class ListSchedules(Message, frozen=True, kw_only=True, tag="list_schedules"):
    """The schedules of all projects, or of one. Answer: ScheduleList."""

    id: int
    project: str | None = None


class RunSchedule(Message, frozen=True, kw_only=True, tag="run_schedule"):
    """Starts a schedule's run now. Answer: TriggerAdded. `token` makes the request idempotent."""

    id: int
    schedule: int
    token: str


class AdvanceSchedule(Message, frozen=True, kw_only=True, tag="advance_schedule"):
    """Deals with a schedule's due times up to `considered_until`, durably: all of it or nothing. Answer: Done.

    `fire` is the due time whose run starts, once however often it is sent; `waiting` the one that waits for the last
    run to end; `note` says why one starts none. Sent by the launcher.
    """

    id: int
    schedule: int
    considered_until: float
    fire: float | None = None
    waiting: float | None = None
    note: str = ""


# --- from the coordinator --------------------------------------------------------------------------------------------


class ScheduleAdded(Message, frozen=True, kw_only=True, tag="schedule_added"):
    """Answer to AddSchedule: the schedule's id."""

    id: int
    schedule: int


class ScheduleList(Message, frozen=True, kw_only=True, tag="schedule_list"):
    """Answer to ListSchedules, by project and id."""

    id: int
    schedules: list[ScheduleView]


FromSchedules = ListSchedules | RunSchedule | AdvanceSchedule
"""Handled in the coordinator's turns, as other messages of clients."""
ChangesSchedules = AddSchedule | PauseSchedule | RemoveSchedule
"""Handled as administrative messages: rare, and written at once."""
ToSchedules = ScheduleAdded | ScheduleList
