"""One job: its live log, attempts, definition, artifacts, reports and history."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import ContentSwitcher, Static, Tab, Tabs

from protocol import messages as m
from protocol.compression import DAMAGE, decompress
from protocol.display import clean, hyperlink
from protocol.errors import LongshoreError
from protocol.reports import JobReports, Link
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import ArtifactRef, AttemptView, JobView
from tui.log.source import LogSource
from tui.presentation.formatting import SIGNS, clock, duration, elapsed, failure, size
from tui.presentation.job_text import definition, story, tests
from tui.presentation.spans import Spans
from tui.presentation.summaries import NOTHING_WRITTEN, job_head, no_log
from tui.screens.commands import job_applies
from tui.screens.dialogs import Ask
from tui.screens.log_page import LogPage
from tui.screens.report_tables import report_panes, report_tabs
from tui.widgets.filter_bar import FilterBar
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView
from tui.widgets.table import Column, Table


def _attempt_status(attempt: AttemptView, _now: float) -> Spans:
    sign = SIGNS[attempt.status]
    return [(f"{sign} {sign.label}", sign.color)]


def _attempt_reason(attempt: AttemptView, _now: float) -> Spans:
    if attempt.status is not ExecutionStatus.FAILED:
        return [(clean(attempt.message or ""), "")]
    return [(failure(attempt), "")]


ATTEMPTS: tuple[Column[AttemptView], ...] = (
    Column("No", lambda attempt, _: [(str(attempt.number), "strong")], 3, right=True),
    Column("Status", _attempt_status, 13),
    Column("Worker", lambda attempt, _: [(clean(attempt.worker or "–"), "")], 12, flex=1, rank=2),
    Column(
        "Exit", lambda attempt, _: [("–" if attempt.exit_code is None else str(attempt.exit_code), "")], 5, right=True
    ),
    Column("Began", lambda attempt, _: [(clock(attempt.started_at), "muted")], 8, rank=3),
    Column("Time", lambda a, now: [(duration(elapsed(a.started_at, a.finished_at, now)), "")], 7, right=True),
    Column("Reason", _attempt_reason, 12, flex=3, rank=1),
)
ARTIFACTS: tuple[Column[ArtifactRef], ...] = (
    Column("Kind", lambda artifact, _: [(clean(artifact.kind), "strong")], 9),
    Column("Name", lambda artifact, _: [(clean(artifact.name or "–"), "")], 12, flex=1),
    Column("Size", lambda artifact, _: [(size(artifact.size), "")], 10, right=True),
    Column("Digest", lambda artifact, _: [(artifact.digest[:16], "muted")], 16, rank=1),
)


class JobScreen(LogPage):
    """A job of a run. Shows the newest attempt, including future ones, until another is selected."""

    AUTO_FOCUS = "LogView"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "tab(1)", "Next tab"),
        Binding("shift+tab", "tab(-1)", "Previous tab", show=False),
        Binding("r", "retry", "Retry"),
        Binding("p", "play", "Play"),
        Binding("c", "cancel", "Cancel"),
        Binding("S", "shell", "Shell", key_display="S"),
        Binding("y", "copy", "Copy id"),
    ]

    def __init__(self, run: int, job: str) -> None:
        super().__init__()
        self.run_id = run
        self.job_name = job
        self._chosen: int | None = None  # an attempt selected instead of the newest
        self._stream = "job"
        self._detail: m.JobDetail | None = None
        self._attempts: list[AttemptView] = []  # newest first
        self._detail_of: tuple[object, ...] = ()
        self._services: dict[str, str] = {}  # tab -> alias

    def compose_body(self) -> ComposeResult:
        """Facts, tabs, and the tabs' contents."""
        yield Static(id="job-head", markup=False)
        yield Tabs(
            Tab("Log", id="log"),
            Tab("Attempts", id="attempts"),
            Tab("Definition", id="definition"),
            Tab("Artifacts", id="artifacts"),
            Tab("Tests", id="tests"),
            Tab("Story", id="story"),
        )
        with ContentSwitcher(initial="pane-log"):
            yield LogPane(id="pane-log")
            yield Table(ATTEMPTS, lambda attempt: attempt.number, empty="Not tried yet.", id="pane-attempts")
            with VerticalScroll(id="pane-definition"):
                yield Static(id="definition-text", markup=False)
            yield Table(
                ARTIFACTS, lambda artifact: (artifact.kind, artifact.digest), empty="No artifacts.", id="pane-artifacts"
            )
            with VerticalScroll(id="pane-tests"):
                yield Static(id="tests-text", markup=False)
            yield from report_panes()
            with VerticalScroll(id="pane-story"):
                yield Static(id="story-text", markup=False)

    def on_mount(self) -> None:
        """Keeps the focus in the tabs' contents."""
        super().on_mount()
        self.query_one(Tabs).can_focus = False

    def on_screen_resume(self) -> None:
        """Makes the feed follow this run."""
        super().on_screen_resume()
        detail = self.app.model.detail
        if detail is None or detail.run != self.run_id:
            self.command(self._watch())

    async def _watch(self) -> None:
        await self.app.feed.watch_run(self.run_id)
        self.refresh_view()

    # display

    @property
    def job(self) -> JobView | None:
        """The job as currently in the run."""
        detail = self.app.model.detail
        return detail.job(self.job_name) if detail is not None and detail.run == self.run_id else None

    def show(self) -> None:
        """Shows the job's current state."""
        job = self.job
        if job is None:
            return
        now = self.app.now()
        detail = self.app.model.detail
        stage = detail.stage_of(job.name) if detail is not None else ""
        offline = self.app.model.is_offline(job.worker)
        attempt = self._chosen or job.attempt
        head = job_head(self.run_id, job, stage, attempt, now, self.size.width, offline=offline)
        self.query_one("#job-head", Static).update(head)
        self.pane.say_if_empty(self._no_log(job))
        if self.follower.open(self.run_id, job, attempt=self._chosen or job.attempt or None, stream=self._stream):
            self.query_one(FilterBar).clear()
        version = (job.status, job.attempt, job.finished_at)
        if version != self._detail_of:
            self._detail_of = version
            self.command(self._load_detail())
        self.query_one("#pane-artifacts", Table).show(job.artifacts, now)
        if self._detail is not None:
            self.query_one("#pane-attempts", Table).show(self._attempts, now)

    def _no_log(self, job: JobView) -> str:
        if self._stream != "job" and job.status not in ENDED:
            return "A service's log is available once its job has ended."
        return NOTHING_WRITTEN if self._chosen else no_log(job)

    async def _load_detail(self) -> None:
        """Fetches details not on the feed: attempts, definition, history."""
        self._detail = await self.app.feed.request(m.GetJob, m.JobDetail, run=self.run_id, job=self.job_name)
        job = self.job
        if not self.is_composed or job is None:
            return
        detail = self._detail
        self.query_one("#definition-text", Static).update(definition(detail.job, detail.inputs, detail.environment))
        self.query_one("#tests-text", Static).update(tests(job))
        self.query_one("#story-text", Static).update(story(self._detail.story))
        self._attempts = self._detail.attempts[::-1]
        self.query_one("#pane-attempts", Table).show(self._attempts, self.app.now())
        tabs = self.query_one(Tabs)
        tabs.query_one("#attempts", Tab).label = f"Attempts {len(self._detail.attempts)}"
        tabs.query_one("#artifacts", Tab).label = f"Artifacts {len(job.artifacts)}"
        known = {tab.id for tab in tabs.query(Tab)}
        named = [service.aliases[0] for service in self._detail.job.services if service.aliases]
        for alias in dict.fromkeys([*named, *self._detail.services]):
            if (name := _service_tab(alias)) not in known:
                await tabs.add_tab(Tab(f"{clean(alias)} log", id=name), after="log")
                self._services[name] = alias
        for name, label, rows in report_tabs(self._detail.reports or JobReports()):
            self.query_one(f"#pane-{name}", Table).show(rows, self.app.now())
            if name in known:
                tabs.query_one(f"#{name}", Tab).label = label
            else:
                await tabs.add_tab(Tab(label, id=name), before="story")

    # tabs

    @property
    def log_is_shown(self) -> bool:
        """Whether a log tab is in front."""
        return self.is_composed and self.query_one(ContentSwitcher).current == "pane-log"

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Shows the tab's content."""
        name = event.tab.id or "log"
        service = self._services.get(name)
        stream = f"service-{service}" if service is not None else "job"
        is_log = name == "log" or service is not None
        self.query_one(ContentSwitcher).current = "pane-log" if is_log else f"pane-{name}"
        if is_log:
            self._stream = stream
            self.refresh_view()
            self.query_one(LogView).focus()
        else:
            self.query_one(f"#pane-{name}").focus()
        self.refresh_bindings()

    def action_tab(self, step: int) -> None:
        """Selects the next or previous tab."""
        tabs = self.query_one(Tabs)
        (tabs.action_next_tab if step > 0 else tabs.action_previous_tab)()

    def on_table_opened(self, event: Table.Opened) -> None:
        """Opens an attempt's log, downloads an artifact, or follows a link."""
        if event.table.id == "pane-attempts":
            job = self.job
            self._chosen = None if job is not None and event.key == job.attempt else int(str(event.key))
            self.query_one(Tabs).active = "log"
            self.refresh_view()
        elif event.table.id == "pane-artifacts" and (artifact := event.table.row_at_cursor) is not None:
            self.command(self._download(artifact))
        elif event.table.id == "pane-links" and (link := event.table.row_at_cursor) is not None:
            self._follow(link)

    def _follow(self, link: Link) -> None:
        """Downloads the artifacts that a link exposes. An address is opened in a browser's dashboard, else copied: a
        terminal opens it by a click, on the user's machine, and a program started here might take over the terminal.
        """
        address = hyperlink(link.url)
        archive = next((ref for ref in self.job.artifacts if ref.kind == "archive"), None) if self.job else None
        if not link.url and archive is not None:
            self.command(self._download(archive))
        elif address and self.app.is_web:
            self.app.open_url(address)
        elif link.url:
            self.copy(clean(link.url))

    async def _download(self, artifact: ArtifactRef) -> str | None:
        is_archive = artifact.kind == "archive"
        suffix = ".tar" if is_archive else ""
        name = _file_name(f"{self.job_name}-{artifact.name or artifact.kind}{suffix}")
        where = await self.app.ask(Ask("Save the artifact as", name))
        if where is None:
            return None
        path = Path(where).expanduser()
        try:
            count = await self.app.feed.download(artifact.digest, path)
            if is_archive:  # not every tar program reads zstd
                count = await asyncio.to_thread(decompress, path)
        except DAMAGE as error:
            raise LongshoreError(f"{path} is damaged: {error}") from error
        except OSError as error:
            raise LongshoreError(f"can't write {path}: {error.strerror}") from error
        return f"{path}: {size(count)}"

    # keys

    def applies(self, action: str) -> bool:
        """Cancel applies to active jobs, retry to ended ones, play to waiting ones."""
        return job_applies(self.job, action) and super().applies(action)

    def action_retry(self) -> None:
        """Starts a new attempt."""
        if self.job is not None:
            self._chosen = None
            self.retry_job(self.run_id, self.job)

    def action_play(self) -> None:
        """Starts a manual job."""
        if self.job is not None:
            self.play_job(self.run_id, self.job)

    def action_shell(self) -> None:
        """Opens a shell in its container."""
        if self.job is not None:
            self.open_shell(self.run_id, self.job)

    def action_cancel(self) -> None:
        """Cancels the job."""
        if self.job is not None:
            self.cancel_job(self.run_id, self.job)

    def log_file_name(self, source: LogSource) -> str:
        """Run, job and attempt."""
        return _file_name(f"run-{self.run_id}-{self.job_name}-{source.attempt or 0}.log")

    def action_copy(self) -> None:
        """Copies the attempt's id, or the job's before its first attempt."""
        if self.job is not None:
            self.copy(self.job.attempt_id or f"{self.run_id} {self.job.name}")


def _file_name(text: str) -> str:
    return text.replace("/", "-").replace(" ", "-")


def _service_tab(alias: str) -> str:
    """Widget id of a service's tab."""
    return "service-" + "".join(letter if letter.isalnum() else f"_{ord(letter):x}" for letter in alias)
