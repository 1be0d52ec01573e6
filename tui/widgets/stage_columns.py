"""A run's stages as columns of jobs, as on GitLab's pipeline page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from protocol.display import clean
from protocol.statuses import ENDED
from protocol.views import JobView, RunSummary, StageView
from tui.presentation.formatting import SIGNS, WARNING, child_sign, duration, elapsed, job_sign, queued, why
from tui.presentation.spans import Span, fit, fit_name, fit_spans, spans_width
from tui.widgets.line_widget import LineWidget

HEAD = 2
"""Fixed lines at the top: the stages' names, and a rule."""
NARROWEST, WIDEST = 26, 44
GAP = 3
CRITICAL = "◆"


@dataclass(frozen=True, slots=True)
class StageColumn:
    """A stage with its visible jobs."""

    view: StageView
    jobs: Sequence[JobView]


class StageColumns(LineWidget):
    """Navigable columns; the cursor stays on its job while jobs change around it."""

    class Opened(Message):
        """A job was chosen with Enter or a second click."""

        def __init__(self, job: str) -> None:
            super().__init__()
            self.job = job

    class Moved(Message):
        """The cursor is on another job."""

        def __init__(self, job: str | None) -> None:
            super().__init__()
            self.job = job

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stages: Sequence[StageColumn] = ()
        self._critical: frozenset[str] = frozenset()
        self._expected: dict[str, float] = {}
        self._runs: Mapping[int, RunSummary] = {}
        self._now = 0.0
        self._at = (0, 0)  # column and row of the cursor
        self._job: str | None = None  # the job under it
        self._card = 1  # lines per job

    # display

    def show(
        self,
        stages: Sequence[StageColumn],
        critical: frozenset[str],
        expected: dict[str, float],
        runs: Mapping[int, RunSummary],
        now: float,
    ) -> None:
        """Shows these stages as of `now`; `critical` jobs are marked, `expected` are seconds per job.

        `runs` has the child runs that jobs have started.
        """
        self._stages, self._critical, self._expected, self._runs, self._now = stages, critical, expected, runs, now
        self._find_cursor()
        self._lay_out()
        self.refresh()

    @property
    def job(self) -> JobView | None:
        """The job under the cursor."""
        column, row = self._at
        if column < len(self._stages) and row < len(self._stages[column].jobs):
            return self._stages[column].jobs[row]
        return None

    def select(self, name: str) -> None:
        """Puts the cursor on a job, if it is shown."""
        for column, stage in enumerate(self._stages):
            for row, job in enumerate(stage.jobs):
                if job.name == name:
                    self._move(column, row)
                    return

    def _find_cursor(self) -> None:
        """Restores the cursor after a change: the same job, else the nearest one."""
        job = self.job
        if job is not None and job.name == self._job:
            return
        before = self._job
        for column, stage in enumerate(self._stages):
            for row, candidate in enumerate(stage.jobs):
                if candidate.name == before:
                    self._at = (column, row)
                    return
        column, row = self._at
        filled = [number for number, stage in enumerate(self._stages) if stage.jobs]
        if filled:
            column = min(filled, key=lambda number: abs(number - column))
            self._at = (column, min(row, len(self._stages[column].jobs) - 1))
        self._job = self.job.name if self.job else None
        self.post_message(self.Moved(self._job))

    # layout

    def on_resize(self, _event: events.Resize) -> None:
        """Adapts the columns' width."""
        self._lay_out()

    def _lay_out(self) -> None:
        tallest = max((len(stage.jobs) for stage in self._stages), default=0)
        self._card = 2 if tallest * 3 <= self.scrollable_size.height - HEAD else 1
        height = HEAD + tallest * self._pitch
        size = Size(len(self._stages) * (self._width + GAP), height)
        if size != self.virtual_size:
            self.virtual_size = size

    @property
    def _pitch(self) -> int:
        """Lines from one job to the next: two-line cards are separated by a blank one."""
        return self._card + (self._card > 1)

    @property
    def _width(self) -> int:
        """Cells of a column."""
        if not self._stages:
            return NARROWEST
        room = self.scrollable_size.width // len(self._stages) - GAP
        return max(min(NARROWEST, self.scrollable_size.width - 2), min(WIDEST, room))

    # movement

    def _move(self, column: int, row: int) -> None:
        if not self._stages:
            return
        column = max(0, min(column, len(self._stages) - 1))
        jobs = self._stages[column].jobs
        if not jobs:
            return
        self._at = (column, max(0, min(row, len(jobs) - 1)))
        self._job = self.job.name if self.job else None
        left = column * (self._width + GAP)
        top = self._at[1] * self._pitch
        self.scroll_to_region(
            Region(left, top, self._width + GAP, HEAD + self._card), animate=False, force=True, immediate=True
        )
        self.post_message(self.Moved(self._job))
        self.refresh()

    def _sideways(self, step: int) -> None:
        column, row = self._at
        column += step
        while 0 <= column < len(self._stages) and not self._stages[column].jobs:
            column += step
        if 0 <= column < len(self._stages):
            self._move(column, row)

    def action_down(self) -> None:
        """Next job of the stage."""
        self._move(self._at[0], self._at[1] + 1)

    def action_up(self) -> None:
        """Previous job."""
        self._move(self._at[0], self._at[1] - 1)

    def action_left(self) -> None:
        """Previous stage."""
        self._sideways(-1)

    def action_right(self) -> None:
        """Next stage."""
        self._sideways(1)

    def action_page_down(self) -> None:
        """A screen down."""
        self._move(self._at[0], self._at[1] + max(1, (self.scrollable_size.height - HEAD) // self._pitch))

    def action_page_up(self) -> None:
        """A screen up."""
        self._move(self._at[0], self._at[1] - max(1, (self.scrollable_size.height - HEAD) // self._pitch))

    def action_top(self) -> None:
        """First job of the stage."""
        self._move(self._at[0], 0)

    def action_bottom(self) -> None:
        """Last job of the stage."""
        self._move(self._at[0], 1 << 30)

    def action_open(self) -> None:
        """Opens the job under the cursor."""
        if self._job is not None:
            self.post_message(self.Opened(self._job))

    def on_click(self, event: events.Click) -> None:
        """Selects a job, or opens the selected one."""
        if event.y < HEAD:
            return
        column, within = divmod(event.x + self.scroll_offset.x, self._width + GAP)
        row, line = divmod(event.y - HEAD + self.scroll_offset.y, self._pitch)
        if column >= len(self._stages) or row >= len(self._stages[column].jobs):
            return
        if within >= self._width or line >= self._card:
            return
        if (column, row) == self._at:
            self.action_open()
        else:
            self._move(column, row)

    # drawing

    def render_line(self, y: int) -> Strip:
        """A line across all columns."""
        spans: list[Span] = []
        for number, stage in enumerate(self._stages):
            if y == 0:
                spans += self._heading(stage)
                arrow = " ▸ " if number + 1 < len(self._stages) else " " * GAP
                spans.append((arrow, "muted"))
            elif y == 1:
                spans += [("─" * self._width, "muted"), (" " * GAP, "")]
            else:
                row, line = divmod(y - HEAD + self.scroll_offset.y, self._pitch)
                if row < len(stage.jobs) and line < self._card:
                    before = stage.jobs[row - 1].name if row else ""
                    spans += self._card_line(stage.jobs[row], before, line, here=(number, row) == self._at)
                    spans.append((" " * GAP, ""))
                else:
                    spans.append((" " * (self._width + GAP), ""))
        width = max(self.virtual_size.width, self.scrollable_size.width)
        left = self.scroll_offset.x
        return self.strip(spans, width).crop(left, left + self.scrollable_size.width)

    def _heading(self, stage: StageColumn) -> list[Span]:
        view = stage.view
        warned = any(job_sign(job) is WARNING for job in stage.jobs)
        sign = WARNING if warned and str(view.status) == "success" else SIGNS[view.status]
        ended = sum(job.status in ENDED for job in stage.jobs)
        tail = f" {ended}/{len(stage.jobs)}"
        name = fit(clean(view.name), max(1, self._width - len(tail) - 3))
        return [(f"{sign} ", sign.color), (name, "strong"), (tail, "muted")]

    def _card_line(self, job: JobView, before: str, line: int, *, here: bool) -> list[Span]:
        """A line of a job's card; `before` is the name of the job above it."""
        width = self._width
        sign = job_sign(job)
        if line == 0:
            name = clean(job.name)
            child = child_sign(job, self._runs)
            time = self._time(job, width - cell_len(name) - spans_width(child) - 7)
            mark = CRITICAL if job.name in self._critical else " "
            name = _label(name, clean(before), max(1, width - 6 - spans_width(child) - cell_len(time)))
            spans: list[Span] = [
                ("❯" if here else " ", ""),
                (str(sign), sign.color),
                (mark, "accent"),
                (name, "strong" if here else ""),
                *child,
                (f" {time}", "muted"),
            ]
            spans = fit_spans(spans, width)
        else:
            spans = fit_spans([(" " * 4, ""), (self._note(job), "muted")], width)
        if not here:
            return spans
        cursor = "cursor" if self.has_focus else "cursor-away"
        return [(text, cursor) for text, _ in spans]

    def _time(self, job: JobView, room: int) -> str:
        """Elapsed time and, space permitting, the expected one."""
        taken = elapsed(job.started_at, job.finished_at, self._now)
        guess = self._expected.get(job.name)
        if job.status in ENDED or guess is None:
            return "" if taken is None else duration(taken)
        parts = ([duration(taken), "/"] if taken is not None else []) + [f"~{duration(guess)}"]
        return next((text for text in ("".join(parts), parts[0]) if len(text) <= room), parts[0])

    def _note(self, job: JobView) -> str:
        """The second line of a card."""
        reason = why(job)
        if reason:
            return reason
        parts = [str(job_sign(job).label)]
        if job.worker:
            parts.append(f"on {clean(job.worker)}")
        waited = queued(job, self._now)
        if waited is not None and waited >= 1 and job.started_at is None:
            parts.append(f"queued {duration(waited)}")
        if job.attempt > 1:
            parts.append(f"attempt {job.attempt}")
        return ", ".join(parts)


def _label(name: str, before: str, width: int) -> str:
    """A job's name in `width` cells. Of consecutive long matrix names, only the first shows the matrix's name."""
    matrix, bracket, values = name.partition(": [")
    if cell_len(name) <= width or not bracket:
        return fit_name(name, width)
    if before.startswith(matrix + bracket):
        return fit_name(f"…[{values}", width)
    return fit(name, width)
