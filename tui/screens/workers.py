"""The workers: slots, labels, load, current jobs, last contact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from protocol import messages as m
from protocol.display import clean
from protocol.statuses import WorkerStatus
from protocol.views import WorkerView
from tui.presentation.formatting import age, elapsed, matches, worker_sign
from tui.presentation.spans import Spans
from tui.screens.dialogs import Confirm
from tui.screens.list_page import ListPage
from tui.screens.run import RunScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.table import Column, Table

BAR_CELLS = 6


def _status(worker: WorkerView, _now: float) -> Spans:
    sign = worker_sign(worker)
    return [(f"{sign} {sign.label}", sign.color)]


def _slots(worker: WorkerView, _now: float) -> Spans:
    """One cell per slot, or a share of some cells if there are more; then the number of jobs waiting without a slot."""
    cells = min(BAR_CELLS, max(1, worker.slots))
    used = min(cells, -(-worker.running * cells // max(1, worker.slots)))
    full = worker.running >= worker.slots
    return [
        ("█" * used, "warning" if full else "primary"),
        ("░" * (cells - used), "muted"),
        (f" {worker.running}/{worker.slots}", "strong"),
        (f" +{worker.waiting}" if worker.waiting else "", "muted"),
    ]


def _seen(worker: WorkerView, now: float) -> Spans:
    if worker.status is not WorkerStatus.OFFLINE:
        return [("now", "muted")]
    return [(f"{age(elapsed(worker.last_seen, None, now))} ago", "error")]


COLUMNS: Sequence[Column[WorkerView]] = (
    Column("Worker", lambda worker, _: [(clean(worker.name), "strong")], 12, flex=1),
    Column("Status", _status, 11),
    Column("Slots +waiting", _slots, BAR_CELLS + 9),
    Column("Runs", lambda worker, _: [(clean(", ".join(worker.jobs)) or "–", "")], 13, flex=4, rank=2),
    Column("Labels", lambda worker, _: [(clean(", ".join(worker.labels)) or "–", "accent")], 10, flex=1, rank=4),
    Column("Engine", lambda worker, _: [(clean(worker.executor.engine), "muted")], 12, flex=1, rank=5),
    Column("Seen", _seen, 7, rank=3, right=True),
)


class WorkersScreen(ListPage):
    """All workers known to the coordinator."""

    PAGE = "workers"
    AUTO_FOCUS = "Table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "drain", "Drain/undrain"),
        Binding("y", "copy", "Copy name"),
        Binding("slash", "filter", "Filter", key_display="/"),
    ]

    def compose_body(self) -> ComposeResult:
        """The table and its filter."""
        yield FilterBar("filter by name, label, status or job")
        yield Table(
            COLUMNS,
            lambda worker: worker.name,
            empty="No workers. Start one with: longshore worker --coordinator ADDRESS",
            id="workers",
        )

    def show(self) -> None:
        """Shows the workers that match the filter, by name."""
        words = self.query_one(FilterBar).value.lower().split()
        rows = [
            worker
            for _, worker in sorted(self.app.model.workers.items())
            if not words or matches(words, worker.name, str(worker.status), *worker.labels, *worker.jobs)
        ]
        self.query_one(Table).show(rows, self.app.now())

    @property
    def worker(self) -> WorkerView | None:
        """The worker under the cursor."""
        return self.query_one(Table).row_at_cursor

    def on_table_opened(self, _event: Table.Opened) -> None:
        """Opens the worker's first job."""
        worker = self.worker
        if worker is None or not worker.jobs:
            self.tell("this worker has no jobs")
            return
        run, _, job = worker.jobs[0].partition("/")
        self.app.push_screen(RunScreen(int(run), job))

    def action_drain(self) -> None:
        """Drains the worker after confirmation; or lets it take jobs again."""
        worker = self.worker
        if worker is None:
            return
        on = worker.status is not WorkerStatus.DRAINING

        async def drain() -> str | None:
            question = Confirm(f"Drain worker {worker.name}?", "It finishes its running jobs and takes no new ones.")
            if on and not await self.app.ask(question):
                return None
            await self.app.feed.request(m.DrainWorker, m.Done, worker=worker.name, on=on)
            return f"{worker.name} {'is draining' if on else 'takes jobs again'}"

        self.command(drain())

    def action_copy(self) -> None:
        """Copies the worker's name."""
        if self.worker is not None:
            self.copy(self.worker.name)
