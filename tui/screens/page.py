"""What all screens have: the bars, the keys that work everywhere, and how commands are given and answered."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunSummary
from tui.presentation.formatting import plural
from tui.screens.dialogs import Confirm
from tui.widgets.key_bar import KeyBar
from tui.widgets.top_bar import TopBar

if TYPE_CHECKING:
    from tui.app import LongshoreApp

PLAYABLE = (ExecutionStatus.MANUAL, ExecutionStatus.SCHEDULED)
UNSUCCESSFUL = (ExecutionStatus.FAILED, ExecutionStatus.CANCELED, ExecutionStatus.SKIPPED)
"""What retrying a run tries again."""
GOOD_NEWS, BAD_NEWS = 3.0, 8.0
"""Seconds that a message stays."""


class Page(Screen[None]):
    """A screen of the dashboard. `show` brings it up to date with the model; the app calls it when that has changed,
    and once a second so that times tick."""

    PAGE: ClassVar[str] = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "back", "Back", key_display="esc"),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q,ctrl+c", "app.quit", "Quit", key_display="q"),
    ]
    app: LongshoreApp

    def compose(self) -> ComposeResult:
        """The bars around what the screen itself has."""
        yield TopBar()
        yield Static(id="problem", markup=False)
        yield from self.compose_body()
        yield KeyBar()

    def compose_body(self) -> ComposeResult:
        """The widgets between the bars."""
        raise NotImplementedError

    def show(self) -> None:
        """Shows the model as it is now."""
        raise NotImplementedError

    @property
    def is_composed(self) -> bool:
        """Whether all widgets and their parts are there: not yet before it is mounted, not any more when closed."""
        return self.is_mounted and self.is_attached and bool(self.query(KeyBar))

    def refresh_view(self) -> None:
        """Brings bars and body up to date."""
        if not self.is_composed:
            return
        model = self.app.model
        bar = self.query_one(TopBar)
        bar.page = self.PAGE
        bar.address = self.app.address
        bar.connection = model.connection
        bar.facts = f"{plural(model.active_runs(), 'active run')}, {plural(len(model.workers), 'worker')}"
        self.query_one("#problem", Static).update(Content(model.problem))
        self.query_one("#problem").display = bool(model.problem)
        self.show()
        self.query_one(KeyBar).sync()

    def on_screen_resume(self) -> None:
        """Catches up with what happened while another screen was in front."""
        self.refresh_view()

    def on_mount(self) -> None:
        """Shows something at once."""
        self.call_after_refresh(self.refresh_view)

    # keys

    def action_back(self) -> None:
        """To the screen before."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides keys that never do anything here."""
        if action == "back":
            return len(self.app.screen_stack) > 1
        return True

    def applies(self, action: str) -> bool:
        """Whether a key could do anything as things are; else it is shown dim, and tells why if it is pressed."""
        return True

    # commands

    def command(self, request: Awaitable[str | None]) -> None:
        """Gives a command in the background and tells how it ended: the answer's text, or why it was refused."""

        async def run() -> None:
            try:
                done = await request
            except LongshoreError as error:
                self.tell(str(error), bad=True)
            else:
                if done:
                    self.tell(done)

        self.app.run_worker(run(), group="commands", exit_on_error=True)

    def tell(self, text: str, *, bad: bool = False) -> None:
        """A short message in the corner."""
        if bad:
            self.app.notify(text, severity="error", timeout=BAD_NEWS, markup=False)
        else:
            self.app.notify(text, timeout=GOOD_NEWS, markup=False)

    def copy(self, text: str) -> None:
        """Puts a text into the terminal's clipboard."""
        self.app.copy_to_clipboard(text)
        self.tell(f"copied {text}")

    def cancel_run(self, run: RunSummary) -> None:
        """Cancels a run, after a question."""
        if run.status in ENDED:
            self.tell(f"run {run.id} has ended already", bad=True)
            return

        async def cancel() -> str | None:
            if not await self.app.ask(Confirm(f"Cancel run {run.id} ({run.name})?", "Jobs under way are stopped.")):
                return None
            done = await self.app.feed.request(m.Cancel, m.Done, run=run.id)
            return f"canceling run {run.id}: {plural(done.count, 'job')}"

        self.command(cancel())

    def retry_run(self, run: RunSummary, *, failed_only: bool) -> None:
        """Tries jobs of a run again: the failed ones, or all that did not succeed."""

        async def retry() -> str:
            done = await self.app.feed.request(m.Retry, m.Done, run=run.id, failed_only=failed_only)
            return f"run {run.id}: {plural(done.count, 'job')} to be tried again"

        self.command(retry())

    def cancel_job(self, run: int, job: JobView) -> None:
        """Cancels one job, after a question."""
        if job.status in ENDED:
            self.tell(f"{job.name} has ended already", bad=True)
            return

        async def cancel() -> str | None:
            if not await self.app.ask(Confirm(f"Cancel job {job.name} of run {run}?", "Its container is stopped.")):
                return None
            await self.app.feed.request(m.Cancel, m.Done, run=run, job=job.name)
            return f"canceling {job.name}"

        self.command(cancel())

    def retry_job(self, run: int, job: JobView) -> None:
        """A new attempt of one job."""
        if job.status not in ENDED:
            self.tell(f"{job.name} is {job.status}: it can be tried again when it has ended", bad=True)
            return

        async def retry() -> str:
            await self.app.feed.request(m.Retry, m.Done, run=run, job=job.name)
            return f"{job.name} is tried again"

        self.command(retry())

    def play_job(self, run: int, job: JobView) -> None:
        """Starts a manual or delayed job, after its own question if it has one."""
        if job.status not in PLAYABLE:
            self.tell(f"{job.name} is {job.status}: only a manual or delayed job can be played", bad=True)
            return

        async def play() -> str | None:
            detail = await self.app.feed.request(m.GetJob, m.JobDetail, run=run, job=job.name)
            question = detail.job.manual_confirmation
            if question and not await self.app.ask(Confirm(question, f"Play {job.name} of run {run}.")):
                return None
            await self.app.feed.request(m.Play, m.Done, run=run, job=job.name)
            return f"{job.name} is started"

        self.command(play())


def job_applies(job: JobView | None, action: str) -> bool:
    """Whether one of the actions on a job could do anything to this one."""
    match action:
        case "play":
            return job is not None and job.status in PLAYABLE
        case "cancel":
            return job is not None and job.status not in ENDED
        case "retry":
            return job is not None and job.status in ENDED
    return True


def run_applies(run: RunSummary | None, action: str) -> bool:
    """Whether one of the actions on a whole run could do anything to this one."""
    counts = run.counts if run is not None else {}
    match action:
        case "cancel_run":
            return run is not None and run.status not in ENDED
        case "retry_run":
            return any(counts.get(status.value) for status in UNSUCCESSFUL)
        case "retry_failed" | "next_failed":
            return bool(counts.get(ExecutionStatus.FAILED.value))
    return True
