"""Schedules of projects: settings, and what has been dealt with. Knows no clock: the launcher says what is due.

Schedules are few: they are kept in memory. A user's change is written durably on its own; a due time with its trigger
in one turn, so that it starts one run however often the launcher is killed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from typing import cast

import msgspec

from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.projects import Projects
from coordinator.security.roles import Identity
from coordinator.store.columns import as_json, load, text
from coordinator.store.models import Run, RunTrigger, Schedule
from coordinator.store.rows import Row
from coordinator.store.store import Store
from protocol import messages as m
from protocol.cron import Cron
from protocol.errors import ProtocolError, UsageError
from protocol.plan import Variable
from protocol.projects import TriggerSpec
from protocol.schedules import ScheduleSpec, ScheduleView, schedule_key
from protocol.statuses import ENDED, ExecutionStatus
from protocol.variables import VARIABLE_NAME

log = logging.getLogger(__name__)

MOST_SCHEDULES = 10_000
MOST_VARIABLES = 100
LONGEST_TEXT = 4096
LONGEST_REF = 255
LONGEST_TOKEN = 100
DESCRIPTION = "CI_PIPELINE_SCHEDULE_DESCRIPTION"
"""The variable with a schedule's description, as in GitLab."""
OVER = {status.value for status in ENDED} | {ExecutionStatus.MANUAL.value}
"""Statuses of a run that goes on by itself no more."""


class Schedules:
    """The schedules of one coordinator. Raises ProtocolError for refused requests."""

    def __init__(self, store: Store, projects: Projects, engine: Engine) -> None:
        self._store = store
        self._projects = projects
        self._engine = engine
        self._schedules: dict[int, ScheduleView] = {}
        self._last_triggers: dict[int, int] = {}  # by schedule
        self._tokens: dict[str, int] = {}
        for row in store.all(Schedule.select()):
            try:
                view = _view(row)
            except ValueError as error:
                log.error("ignoring schedule %s: its row in the database is invalid (%s)", row[0], error)
                continue
            self._put(view, row[2], row[9])
        self._next = store.newest(Schedule) + 1
        projects.on_removal.append(self.project_removed)

    def _put(self, view: ScheduleView, token: str, trigger: int | None) -> None:
        self._schedules[view.id] = view
        self._tokens[token] = view.id
        if trigger is not None:
            self._last_triggers[view.id] = trigger

    # changes by users, each durable at once

    def answer(self, message: m.Message, by: Identity) -> m.Message:
        """Executes an administrative request and returns the reply."""
        match message:
            case m.AddSchedule():
                return self._add(message, by)
            case m.PauseSchedule():
                view = self._known(message.schedule)
                until = view.considered_until if message.on else time.time()
                changed = msgspec.structs.replace(view, paused=message.on, considered_until=until, waiting_due=None)
                self._keep(changed, by, "pause schedule" if message.on else "resume schedule")
                return m.Done(id=message.id, count=1)
            case m.RemoveSchedule():
                view = self._known(message.schedule)
                line = (time.time(), by.name, by.role, "remove schedule", *_subject(view))
                self._store.remove(line, Schedule, Schedule.id == view.id)
                self._forget(view.id)
                return m.Done(id=message.id, count=1)
        raise AssertionError(type(message))

    def _add(self, message: m.AddSchedule, by: Identity) -> m.ScheduleAdded:
        if not 1 <= len(message.token) <= LONGEST_TOKEN or "\0" in message.token:
            raise ProtocolError("bad_field", f"a token has 1 to {LONGEST_TOKEN} characters")
        if (known := self._tokens.get(message.token)) is not None:
            return m.ScheduleAdded(id=message.id, schedule=known)
        if len(self._schedules) >= MOST_SCHEDULES:
            raise ProtocolError("bad_request", f"there are {MOST_SCHEDULES} schedules already")
        self._projects.known(message.schedule.project)
        _check(message.schedule)
        now = time.time()
        view = ScheduleView(
            id=self._next, spec=message.schedule, created_at=now, created_by=by.name, considered_until=now
        )
        self._keep(view, by, "add schedule", token=message.token)
        self._next += 1
        return m.ScheduleAdded(id=message.id, schedule=view.id)

    def _keep(self, view: ScheduleView, by: Identity, action: str, *, token: str | None = None) -> None:
        token = token or self._token_of(view.id)
        trigger = self._last_triggers.get(view.id)
        line = (time.time(), by.name, by.role, action, *_subject(view))
        row = _row(view, token, trigger)
        if any(queued[0] == view.id for queued in self._store.queued(Schedule)):
            self._store.audit(line)  # with the due time of this turn, which must not be durable without its trigger
            self._store.queue(Schedule, row)
        else:
            self._store.keep(line, (Schedule, row))
        self._put(view, token, trigger)

    def project_removed(self, project: str, by: Identity) -> None:
        """Removes the schedules of a project."""
        for view in [view for view in self._schedules.values() if view.spec.project == project]:
            line = (time.time(), by.name, by.role, "remove schedule", *_subject(view))
            self._store.remove(line, Schedule, Schedule.id == view.id)
            self._forget(view.id)

    def _forget(self, schedule: int) -> None:
        self._store.unqueue(Schedule, schedule)
        del self._schedules[schedule]
        self._last_triggers.pop(schedule, None)
        self._tokens = {token: id for token, id in self._tokens.items() if id != schedule}

    def _known(self, schedule: int) -> ScheduleView:
        view = self._schedules.get(schedule)
        if view is None:
            raise ProtocolError("not_found", f"there is no schedule {schedule}; see: longshore schedule list")
        return view

    def _token_of(self, schedule: int) -> str:
        return next(token for token, id in self._tokens.items() if id == schedule)

    # due times, durable with the turn

    def advance(self, message: m.AdvanceSchedule, now: Now) -> m.Done:
        """Carries out the launcher's decision about a schedule. The reply holds after the turn's commit."""
        view = self._known(message.schedule)
        times = (message.considered_until, message.fire, message.waiting)
        if not all(at is None or math.isfinite(at) for at in times):
            raise ProtocolError("bad_field", "a time is a finite number")
        note, due, trigger, waiting = message.note[:LONGEST_TEXT], view.last_due, None, message.waiting
        if message.fire is not None and not view.paused:
            added = self._start(view, schedule_key(view.id, message.fire), now)
            due, trigger = message.fire, added.trigger or None
            note = added.reason if added.outcome == "refused" else note
        changed = msgspec.structs.replace(
            view, considered_until=message.considered_until, waiting_due=waiting, last_due=due, note=note
        )
        self._queue(changed, trigger)
        return m.Done(id=message.id, count=1)

    def run(self, message: m.RunSchedule, now: Now) -> m.TriggerAdded:
        """Starts a schedule's run now, once for each token."""
        if not 1 <= len(message.token) <= LONGEST_TOKEN or "\0" in message.token:
            raise ProtocolError("bad_field", f"a token has 1 to {LONGEST_TOKEN} characters")
        view = self._known(message.schedule)
        added = self._start(view, f"schedule:{view.id}:run:{message.token}", now)
        if added.trigger:
            self._queue(msgspec.structs.replace(view, note=""), added.trigger)
        return msgspec.structs.replace(added, id=message.id)

    def _start(self, view: ScheduleView, key: str, now: Now) -> m.TriggerAdded:
        spec = view.spec
        variables = list(spec.variables)
        if spec.description:
            variables.append(Variable(key=DESCRIPTION, value=spec.description, raw=True))
        trigger = TriggerSpec(project=spec.project, key=key, source="schedule", ref=spec.ref, variables=variables)
        return self._projects.add_trigger(m.AddTrigger(id=0, trigger=trigger), now)

    def _queue(self, view: ScheduleView, trigger: int | None) -> None:
        trigger = trigger or self._last_triggers.get(view.id)
        self._put(view, self._token_of(view.id), trigger)
        self._store.queue(Schedule, _row(view, self._token_of(view.id), trigger))

    # for readers, after the commit

    def list_schedules(self, message: m.ListSchedules) -> m.ScheduleList:
        """Schedules with what came of their last triggers, by project and id."""
        chosen = [view for view in self._schedules.values() if message.project in (None, view.spec.project)]
        triggers = self._outcomes({self._last_triggers[view.id] for view in chosen if view.id in self._last_triggers})
        found = []
        for view in sorted(chosen, key=lambda view: (view.spec.project, view.id)):
            run, status, reason, busy = triggers.get(self._last_triggers.get(view.id, 0), (None, "", "", False))
            note = view.note or reason
            found.append(msgspec.structs.replace(view, last_run=run, last_status=status, busy=busy, note=note))
        return m.ScheduleList(id=message.id, schedules=found)

    def _outcomes(self, triggers: Iterable[int]) -> dict[int, tuple[int | None, str, str, bool]]:
        """By trigger: its run, the status of that, the reason for none, and whether it has yet to end."""
        wanted = sorted(triggers)
        columns = RunTrigger.select(RunTrigger.id, RunTrigger.state, RunTrigger.run, RunTrigger.reason)
        rows = self._store.all(columns.where(RunTrigger.id.in_(wanted))) if wanted else []
        runs = [run for _, _, run, _ in rows if run is not None and run not in self._engine.unfinished()]
        query = Run.select(Run.id, Run.status).where(Run.id.in_(runs))
        statuses: dict[int, str] = dict(self._store.all(query)) if runs else {}
        statuses |= {id: run.status.value for id, run in self._engine.unfinished().items()}
        found = {}
        for trigger, state, run, reason in rows:
            status = state if run is None else statuses.get(run, "removed")
            busy = state == "pending" if run is None else status not in OVER and status != "removed"
            found[trigger] = cast("int | None", run), status, cast("str", reason), busy
        return found


def _check(spec: ScheduleSpec) -> None:
    try:
        Cron(spec.cron, spec.timezone)
    except UsageError as error:
        raise ProtocolError("bad_request", str(error)) from None
    if len(spec.ref) > LONGEST_REF or spec.ref.startswith("-") or "\0" in spec.ref:
        raise ProtocolError("bad_request", f"{spec.ref[:100]!r} is no branch or tag")
    if len(spec.variables) > MOST_VARIABLES or len(as_json(spec)) > MOST_VARIABLES * LONGEST_TEXT:
        raise ProtocolError("too_large", f"a schedule has at most {MOST_VARIABLES} variables")
    bad = next((variable.key for variable in spec.variables if not VARIABLE_NAME.fullmatch(variable.key)), None)
    if bad is not None:
        raise ProtocolError("bad_request", f"bad variable name {bad[:100]!r}")
    if len(spec.description) > LONGEST_TEXT or "\0" in spec.description:
        raise ProtocolError("bad_request", f"a description has at most {LONGEST_TEXT} characters")


def _subject(view: ScheduleView) -> tuple[str, str]:
    """Of the audit: the subject and its detail."""
    spec = view.spec
    return f"schedule {view.id}", f"{spec.project} {spec.ref} {spec.cron!r} {spec.timezone}".replace("  ", " ")


def _row(view: ScheduleView, token: str, trigger: int | None) -> Row:
    return (
        view.id,
        view.spec.project,
        token,
        as_json(view.spec),
        view.paused,
        view.created_at,
        view.created_by,
        view.considered_until,
        view.waiting_due,
        trigger,
        view.last_due,
        text(view.note),
    )


def _view(row: Row) -> ScheduleView:
    id, _, _, spec, paused, created, by, considered, waiting, _, due, note = row
    return ScheduleView(
        id=id,
        spec=load(ScheduleSpec, spec),
        paused=bool(paused),
        created_at=created,
        created_by=by,
        considered_until=considered,
        waiting_due=waiting,
        last_due=due,
        note=note,
    )
