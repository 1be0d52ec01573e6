"""One run: its stages as columns, or its jobs as a dependency graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Static

from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.statuses import ExecutionStatus
from protocol.views import JobView, RunSummary
from tui.client.model import RunDetail
from tui.presentation.eta import Estimate, estimate, expected_durations
from tui.presentation.formatting import SIGNS, job_sign, matches
from tui.presentation.summaries import job_facts, no_log, run_facts
from tui.screens.commands import CommandPage, job_applies, run_applies
from tui.screens.job import JobScreen
from tui.screens.log_controller import LogController
from tui.widgets.filter_bar import FilterBar
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView
from tui.widgets.needs_graph import NeedsGraph
from tui.widgets.stage_columns import StageColumn, StageColumns

EARLIER_RUNS = 3
"""Earlier runs of the same project used to estimate the remaining time."""
PREVIEW_HEIGHT = 28
"""Minimum terminal height, in lines, for the log preview."""
CURSOR_RESTS = 0.15
"""Seconds that the cursor must rest on a job before its log is shown."""


class RunScreen(CommandPage):
    """A run with its stages and jobs."""

    AUTO_FOCUS = "StageColumns"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", "Graph"),
        Binding("o", "open_job", "Open job"),
        Binding("r", "retry", "Retry"),
        Binding("R", "retry_failed", "Retry failed", key_display="R"),
        Binding("p", "play", "Play"),
        Binding("c", "cancel", "Cancel"),
        Binding("C", "cancel_run", "Cancel run", key_display="C"),
        Binding("e", "next_failed", "Next failed"),
        Binding("L", "preview", "Log", key_display="L"),
        Binding("S", "shell", "Shell", key_display="S"),
        Binding("y", "copy", "Copy id"),
        Binding("slash", "filter", "Filter", key_display="/"),
    ]

    def __init__(self, run: int, job: str | None = None) -> None:
        super().__init__()
        self.run_id = run
        self._wanted_job = job  # cursor target once it exists; None: the first failed job
        self._cursor_is_put = False
        self._estimate = Estimate(frozenset(), None)
        self._estimated: tuple[int, int] = (-1, -1)
        self._preview = True
        self._preview_timer: Timer | None = None

    def compose_body(self) -> ComposeResult:
        """The run's facts, its jobs, and the job under the cursor."""
        yield Static(id="run-facts", markup=False)
        yield FilterBar("filter by job, status, worker or reason", id="jobs-filter")
        with ContentSwitcher(initial="columns"):
            yield StageColumns(id="columns")
            yield NeedsGraph(id="graph")
        yield Static(id="job-facts", markup=False)
        yield LogPane(takes_keys=False, id="preview")

    @cached_property
    def _follower(self) -> LogController:
        return LogController(self.app.feed, self.query_one(LogPane))

    def on_unmount(self) -> None:
        """Closes the log."""
        self._follower.close()

    def on_resize(self, _event: events.Resize) -> None:
        """Hides the log preview on a low terminal."""
        self.query_one(LogPane).display = self._preview and self.size.height >= PREVIEW_HEIGHT
        self.call_after_refresh(self.refresh_view)

    def on_screen_resume(self) -> None:
        """Loads the run, unless returning from one of its jobs."""
        super().on_screen_resume()
        if self.app.model.detail is None or self.app.model.detail.run != self.run_id:
            self.command(self._load())

    async def _load(self) -> None:
        await self.app.feed.watch_run(self.run_id)
        self.refresh_view()
        await self._load_expected()

    async def _load_expected(self) -> None:
        """Learns job durations from earlier runs."""
        run, detail = self.run, self._detail
        if run is None or detail is None or detail.expected:
            return
        earlier = [
            other.id
            for other in self.app.model.newest_first()
            if other.id < run.id
            and other.project == run.project
            and other.status in (ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.MANUAL)
        ][:EARLIER_RUNS]
        runs = []
        for number in earlier:
            try:
                runs.append((await self.app.feed.request(m.GetRun, m.RunDetail, run=number)).run)
            except LongshoreError:  # the estimate is optional
                return
        if (detail := self._detail) is not None:
            detail.expected.update(expected_durations(runs))
            self._estimated = (-1, -1)
            self.refresh_view()

    # display

    @property
    def run(self) -> RunSummary | None:
        """The run, once known."""
        return self.app.model.runs.get(self.run_id)

    @property
    def _detail(self) -> RunDetail | None:
        detail = self.app.model.detail
        return detail if detail is not None and detail.run == self.run_id else None

    def show(self) -> None:
        """Shows the run's current state."""
        now = self.app.now()
        detail = self._detail
        if detail is not None:
            self._guess(detail, now)
            stages = self._stages(detail)
            if self._graph_shown:
                self._show_graph(detail, now)
            else:
                columns = self.query_one(StageColumns)
                columns.show(stages, self._estimate.critical, detail.expected, self.app.model.runs, now)
            if not self._cursor_is_put:
                self._cursor_is_put = True
                self._put_cursor(detail)
        self._show_facts(now)
        self._show_log()

    def _put_cursor(self, detail: RunDetail) -> None:
        """Places the cursor on the most relevant job."""
        failed = (job.name for job in detail.jobs() if job_sign(job) is SIGNS[ExecutionStatus.FAILED])
        wanted = self._wanted_job or next(failed, None)
        if wanted is not None:
            self._body.select(wanted)

    def _guess(self, detail: RunDetail, now: float) -> None:
        """Updates the estimate once a second, or after a change."""
        at = (self.app.model.version, int(now))
        if at != self._estimated:
            self._estimated = at
            stages = [list(stage.jobs.values()) for stage in detail.stages.values()]
            self._estimate = estimate(stages, detail.expected, now)

    def _stages(self, detail: RunDetail) -> list[StageColumn]:
        words = self.query_one("#jobs-filter", FilterBar).value.lower().split()
        return [
            StageColumn(
                stage.view,
                [job for job in stage.jobs.values() if not words or matches(words, *_job_words(job))],
            )
            for stage in detail.stages.values()
        ]

    def _show_graph(self, detail: RunDetail, now: float) -> None:
        graph = self.query_one(NeedsGraph)
        jobs = [list(stage.jobs.values()) for stage in detail.stages.values()]
        graph.show(jobs, self._estimate.critical, self.app.model.runs, now)

    def _show_facts(self, now: float) -> None:
        run, job = self.run, self.job
        width = self.size.width
        facts = run_facts(run, self._estimate, now, width) if run else Content(f"Run {self.run_id} ...")
        self.query_one("#run-facts", Static).update(facts)
        below = Content("")
        if job is not None:
            model = self.app.model
            below = job_facts(job, model.runs, now, width, offline=model.is_offline(job.worker))
        self.query_one("#job-facts", Static).update(below)

    def _show_log(self) -> None:
        """Shows the log of the job under the cursor, space permitting."""
        job, pane = self.job, self.query_one(LogPane)
        if job is None or not pane.display:
            self._follower.close()
        else:
            pane.say_if_empty(no_log(job))
            self._follower.open(self.run_id, job, attempt=job.attempt or None)

    def on_log_view_looked(self, event: LogView.Looked) -> None:
        """Fetches the visible rows."""
        self._follower.look(event.top, event.height)

    # movement

    def _moved(self) -> None:
        """Shows the facts of the job under the cursor; its log follows once the cursor rests."""
        self._show_facts(self.app.now())
        self.refresh_bindings()
        if self._preview_timer is not None:
            self._preview_timer.stop()
        self._preview_timer = self.set_timer(CURSOR_RESTS, self._show_log)

    @property
    def _graph_shown(self) -> bool:
        return self.query_one(ContentSwitcher).current == "graph"

    @property
    def job(self) -> JobView | None:
        """The job under the cursor."""
        return self.query_one(NeedsGraph).job if self._graph_shown else self.query_one(StageColumns).job

    def on_stage_columns_moved(self, _event: StageColumns.Moved) -> None:
        """Shows the job under the cursor."""
        self._moved()

    def on_needs_graph_moved(self, _event: NeedsGraph.Moved) -> None:
        """Shows the job under the cursor."""
        self._moved()

    def on_stage_columns_opened(self, event: StageColumns.Opened) -> None:
        """Opens the job or its child run."""
        self._open(event.job)

    def on_needs_graph_opened(self, event: NeedsGraph.Opened) -> None:
        """Opens the job or its child run."""
        self._open(event.job)

    def _open(self, name: str) -> None:
        """Opens the newest run that the job has started, else the job itself."""
        job = self._detail.job(name) if self._detail is not None else None
        if job is not None and job.child_runs:
            self.app.push_screen(RunScreen(job.child_runs[-1]))
        else:
            self.app.push_screen(JobScreen(self.run_id, name))

    def on_filter_bar_changed(self, _event: FilterBar.Changed) -> None:
        """Filters while typing."""
        self.refresh_view()

    def on_filter_bar_done(self, _event: FilterBar.Done) -> None:
        """Returns from the filter to the jobs."""
        self._body.focus()

    @property
    def _body(self) -> StageColumns | NeedsGraph:
        return self.query_one(NeedsGraph) if self._graph_shown else self.query_one(StageColumns)

    # keys

    def applies(self, action: str) -> bool:
        """Actions applicable to the job under the cursor, and to the run."""
        return job_applies(self.job if self.is_composed else None, action) and run_applies(self.run, action)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides the key that opens a job where Enter does the same."""
        if action == "open_job":
            return any(job.child_runs for job in self._detail.jobs()) if self._detail else False
        return super().check_action(action, parameters)

    def action_back(self) -> None:
        """Clears the filter, or goes back."""
        if self.query_one("#jobs-filter", FilterBar).value:
            self.query_one("#jobs-filter", FilterBar).clear()
        else:
            self.app.feed.unwatch_run()
            super().action_back()

    def action_open_job(self) -> None:
        """Opens the job under the cursor, also one that has started a child."""
        if self.job is not None:
            self.app.push_screen(JobScreen(self.run_id, self.job.name))

    def action_view(self) -> None:
        """Toggles between columns and graph; the cursor stays on its job."""
        job = self.job
        self.query_one(ContentSwitcher).current = "columns" if self._graph_shown else "graph"
        self.refresh_view()
        if job is not None:
            self._body.select(job.name)
        self._body.focus()

    def action_preview(self) -> None:
        """Toggles the log preview."""
        self._preview = self.query_one(LogPane).display = not self.query_one(LogPane).display
        self.call_after_refresh(self.refresh_view)

    def action_filter(self) -> None:
        """Opens the filter, on the columns."""
        if self._graph_shown:
            self.action_view()
        self.query_one("#jobs-filter", FilterBar).open()

    def action_retry(self) -> None:
        """Retries the job under the cursor."""
        if self.job is not None:
            self.retry_job(self.run_id, self.job)

    def action_retry_failed(self) -> None:
        """Retries all failed jobs."""
        if self.run is not None:
            self.retry_run(self.run, failed_only=True)

    def action_shell(self) -> None:
        """Opens a shell in the container of the job under the cursor."""
        if self.job is not None:
            self.open_shell(self.run_id, self.job)

    def action_play(self) -> None:
        """Starts the manual job under the cursor."""
        if self.job is not None:
            self.play_job(self.run_id, self.job)

    def action_cancel(self) -> None:
        """Cancels the job under the cursor."""
        if self.job is not None:
            self.cancel_job(self.run_id, self.job)

    def action_cancel_run(self) -> None:
        """Cancels the whole run."""
        if self.run is not None:
            self.cancel_run(self.run)

    def action_next_failed(self) -> None:
        """Moves to the next failed job."""
        detail = self._detail
        failed = [job.name for job in detail.jobs() if job.status is ExecutionStatus.FAILED] if detail else []
        if not failed:
            self.tell("no job has failed")
            return
        here = self.job.name if self.job else ""
        self._body.select(failed[(failed.index(here) + 1) % len(failed)] if here in failed else failed[0])

    def action_copy(self) -> None:
        """Copies the run's id."""
        self.copy(str(self.run_id))


def _job_words(job: JobView) -> Sequence[str]:
    return job.name, job_sign(job).label, job.worker or "", job.pending_reason or "", str(job.failure_reason or "")
