"""Recent history: the feed's events in order of arrival, and the dashboard's notes on the connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from protocol.display import clean
from protocol.events import JobChanged, RunChanged, RunRemoved, StageChanged, WorkerChanged
from tui.client.model import EventLogEntry
from tui.presentation.formatting import SIGNS, clock, job_sign, matches, run_sign, why, worker_sign
from tui.presentation.spans import Spans
from tui.screens.list_page import ListPage
from tui.screens.run import RunScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.table import Column, Table


def describe(entry: EventLogEntry) -> Spans:
    """An event in words."""
    match entry.event:
        case RunChanged(run=run):
            sign = run_sign(run)
            return [
                (f"{sign} ", sign.color),
                (f"run {run.id} ", "strong"),
                (f"{sign.label}  {clean(run.name)}", ""),
            ]
        case RunRemoved(run=number):
            return [("» ", "muted"), (f"run {number} ", "strong"), ("removed", "")]
        case StageChanged(run=number, stage=stage):
            sign = SIGNS[stage.status]
            return [
                (f"{sign} ", sign.color),
                (f"run {number} ", "strong"),
                (f"{sign.label}  stage {clean(stage.name)}", ""),
            ]
        case JobChanged(run=number, job=job):
            sign = job_sign(job)
            where = f" on {clean(job.worker)}" if job.worker else ""
            reason = f": {why(job)}" if why(job) else ""
            words = f"{sign.label}  {clean(job.name)}{where}{reason}"
            return [(f"{sign} ", sign.color), (f"run {number} ", "strong"), (words, "")]
        case WorkerChanged(worker=worker):
            sign = worker_sign(worker)
            return [(f"{sign} ", sign.color), (f"worker {clean(worker.name)} ", "strong"), (sign.label, "")]
        case _:
            return [("   ", ""), (clean(entry.note), "accent")]


COLUMNS: Sequence[Column[EventLogEntry]] = (
    Column("Time", lambda entry, _: [(clock(entry.at), "muted")], 8),
    Column("Event", lambda entry, _: [(str(entry.seq), "muted")], 7, rank=1, right=True),
    Column("What", lambda entry, _: describe(entry), 44, flex=1),
)


class EventsScreen(ListPage):
    """Recent events, newest first."""

    PAGE = "feed"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("slash", "filter", "Filter", key_display="/")]

    def __init__(self) -> None:
        super().__init__()
        self._shown: tuple[int, str] = (-1, "")
        self._rows: list[EventLogEntry] = []

    def compose_body(self) -> ComposeResult:
        """The table and its filter."""
        yield FilterBar("filter by run, job, worker or status")
        empty = "No events since the dashboard was opened."
        yield Table(COLUMNS, id, empty=empty, stays_on_top=True, id="events")

    def show(self) -> None:
        """Shows the events that match the filter."""
        model = self.app.model
        at = (model.version, self.query_one(FilterBar).value.lower())
        if at != self._shown:
            self._shown = at
            words = at[1].split()
            self._rows = [
                entry
                for entry in reversed(model.journal)
                if not words or matches(words, "".join(text for text, _ in describe(entry)))
            ]
        self.query_one(Table).show(self._rows, self.app.now())

    def on_table_opened(self, event: Table.Opened) -> None:
        """Opens the run of the event."""
        entry = event.table.row_at_cursor
        match entry.event if entry is not None else None:
            case JobChanged(run=number, job=job):
                self.app.push_screen(RunScreen(number, job.name))
            case StageChanged(run=number):
                self.app.push_screen(RunScreen(number))
            case RunChanged(run=run):
                self.app.push_screen(RunScreen(run.id))
