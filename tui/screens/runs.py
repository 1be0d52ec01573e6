"""All runs, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from protocol import messages as m
from protocol.display import clean
from protocol.views import RunSummary
from tui.launch import start_run
from tui.presentation.formatting import age, duration, elapsed, matches, progress, run_sign
from tui.presentation.progress_bar import bar
from tui.presentation.spans import Spans
from tui.screens.commands import run_applies
from tui.screens.dialogs import NewRun
from tui.screens.list_page import ListPage
from tui.screens.run import RunScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.key_bar import KeyBar
from tui.widgets.table import Column, Table

PROGRESS_CELLS = 14
"""Cells of the bar and its count; a long count shortens the bar."""
BAR_CELLS, LEAST_BAR = 8, 3
PAGE_OF_RUNS = 200
"""Older runs fetched when the cursor reaches the list's end."""


def _status(run: RunSummary, _now: float) -> Spans:
    sign = run_sign(run)
    return [(f"{sign} {sign.label}", sign.color)]


def _progress(run: RunSummary, _now: float) -> Spans:
    ended, total = progress(run.counts)
    count = f" {ended}/{total}"
    return [*bar(run.counts, max(LEAST_BAR, min(BAR_CELLS, PROGRESS_CELLS - len(count)))), (count, "muted")]


def _pipeline(run: RunSummary, _now: float) -> Spans:
    title = clean(run.title) if run.title != run.name else ""
    parent = f"↳ {run.parent.run} " if run.parent is not None else ""
    return [(parent, "muted"), (clean(run.name), ""), (f"  {title}" if title else "", "muted")]


COLUMNS: Sequence[Column[RunSummary]] = (
    Column("Run", lambda run, _: [(str(run.id), "strong")], 5, right=True),
    Column("Status", _status, 11),
    Column("Project", lambda run, _: [(clean(run.project), "")], 10, flex=1, rank=5),
    Column("Pipeline", _pipeline, 13, flex=4),
    Column("Branch", lambda run, _: [(clean(run.ref), "accent")], 8, flex=1, rank=3),
    Column("Commit", lambda run, _: [(clean(run.sha[:8]), "muted")], 8, rank=6),
    Column("Progress", _progress, PROGRESS_CELLS, rank=2),
    Column("Time", lambda run, now: [(duration(elapsed(run.started_at, run.finished_at, now)), "")], 6, right=True),
    Column("Age", lambda run, now: [(age(elapsed(run.created_at, None, now)), "muted")], 4, rank=4, right=True),
)


class RunsScreen(ListPage):
    """The list of runs."""

    PAGE = "runs"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New run"),
        Binding("c", "cancel_run", "Cancel"),
        Binding("r", "retry_run", "Retry"),
        Binding("R", "retry_failed", "Retry failed", key_display="R"),
        Binding("y", "copy", "Copy id"),
        Binding("slash", "filter", "Filter", key_display="/"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._filtered: tuple[int, str, Sequence[RunSummary]] = (-1, "", ())
        self._paging = False
        self._all_paged = False

    def compose_body(self) -> ComposeResult:
        """The table and its filter."""
        yield FilterBar("filter by number, project, pipeline, branch, commit or status; several words must all match")
        yield Table(COLUMNS, lambda run: run.id, empty="No runs yet. Press n to run a pipeline file.", id="runs")

    def show(self) -> None:
        """Shows the runs that match the filter."""
        self.query_one(Table).show(self._rows(), self.app.now())

    def _rows(self) -> Sequence[RunSummary]:
        model = self.app.model
        text = self.query_one(FilterBar).value.lower()
        version, shown, rows = self._filtered
        if version != model.runs_version or shown != text:
            rows = model.newest_first()
            if words := text.split():
                rows = [
                    run
                    for run in rows
                    if matches(
                        words, f"#{run.id}", run.name, run.project, run.ref, run.sha, run.title, run_sign(run).label
                    )
                ]
            self._filtered = (model.runs_version, text, rows)
        return rows

    @property
    def run(self) -> RunSummary | None:
        """The run under the cursor."""
        return self.query_one(Table).row_at_cursor

    def on_table_opened(self, event: Table.Opened) -> None:
        """Opens the run."""
        assert isinstance(event.key, int)
        self.app.push_screen(RunScreen(event.key))

    def on_table_moved(self, event: Table.Moved) -> None:
        """Updates the run's applicable keys; at the end of the list, fetches older runs."""
        self.query_one(KeyBar).sync()
        rows = event.table.rows
        if rows and event.key == rows[-1].id and not self._paging and not self._all_paged:
            self._paging = True
            self.command(self._fetch_older())

    async def _fetch_older(self) -> None:
        try:
            oldest = min(self.app.model.runs, default=None)
            older = await self.app.feed.request(m.ListRuns, m.RunList, limit=PAGE_OF_RUNS, before=oldest)
            self._all_paged = not older.runs
            self.app.model.add_older_runs(older.runs)
            self.refresh_view()
        finally:
            self._paging = False

    def action_new(self) -> None:
        """Runs a pipeline file and opens the run."""

        async def run() -> str | None:
            answer = await self.app.ask(NewRun())
            if answer is None:
                return None
            self.tell(f"submitting {answer[0]} ...")
            number = await start_run(self.app.address, *answer)
            if self.app.screen is self:
                self.app.push_screen(RunScreen(number))
            return f"run {number} submitted"

        self.command(run())

    def applies(self, action: str) -> bool:
        """Actions applicable to the run under the cursor."""
        return not self.is_composed or run_applies(self.run, action)

    def action_cancel_run(self) -> None:
        """Cancels the run under the cursor."""
        if self.run is not None:
            self.cancel_run(self.run)

    def action_retry_run(self) -> None:
        """Retries all unsuccessful jobs."""
        if self.run is not None:
            self.retry_run(self.run, failed_only=False)

    def action_retry_failed(self) -> None:
        """Retries the failed jobs."""
        if self.run is not None:
            self.retry_run(self.run, failed_only=True)

    def action_copy(self) -> None:
        """Copies the run's id."""
        if self.run is not None:
            self.copy(str(self.run.id))
