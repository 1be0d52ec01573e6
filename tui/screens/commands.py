"""Commands on runs and jobs shared by several screens, and their targets."""

from __future__ import annotations

import shlex

from textual.app import SuspendNotSupported

from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunSummary
from tui.launch import run_shell
from tui.presentation.formatting import plural
from tui.screens.dialogs import Confirm, SetInputs
from tui.screens.page import Page

PLAYABLE = (ExecutionStatus.MANUAL, ExecutionStatus.SCHEDULED)
UNSUCCESSFUL = (ExecutionStatus.FAILED, ExecutionStatus.CANCELED, ExecutionStatus.SKIPPED)
"""Statuses that a retry of the run applies to."""


class CommandPage(Page):
    """A page with keys to cancel, retry and play."""

    def cancel_run(self, run: RunSummary) -> None:
        """Cancels a run after confirmation."""
        if run.status in ENDED:
            self.tell(f"run {run.id} has already ended", bad=True)
            return

        async def cancel() -> str | None:
            if not await self.app.ask(Confirm(f"Cancel run {run.id} ({run.name})?", "Jobs under way are stopped.")):
                return None
            done = await self.app.feed.request(m.Cancel, m.Done, run=run.id)
            return f"canceling run {run.id}: {plural(done.count, 'job')}"

        self.command(cancel())

    def retry_run(self, run: RunSummary, *, failed_only: bool) -> None:
        """Retries jobs of a run: the failed ones, or all unsuccessful ones."""

        async def retry() -> str:
            done = await self.app.feed.request(m.Retry, m.Done, run=run.id, failed_only=failed_only)
            return f"run {run.id}: {plural(done.count, 'job')} will be retried"

        self.command(retry())

    def cancel_job(self, run: int, job: JobView) -> None:
        """Cancels a job after confirmation."""
        if job.status in ENDED:
            self.tell(f"{job.name} has already ended", bad=True)
            return

        async def cancel() -> str | None:
            if not await self.app.ask(Confirm(f"Cancel job {job.name} of run {run}?", "Its container is stopped.")):
                return None
            await self.app.feed.request(m.Cancel, m.Done, run=run, job=job.name)
            return f"canceling {job.name}"

        self.command(cancel())

    def retry_job(self, run: int, job: JobView) -> None:
        """Starts a new attempt of a job, after asking for its inputs if it has some."""
        if job.status not in ENDED:
            self.tell(f"{job.name} is {job.status}: it can be retried once it has ended", bad=True)
            return

        async def retry() -> str | None:
            detail = await self.app.feed.request(m.GetJob, m.JobDetail, run=run, job=job.name)
            inputs = await self._inputs(f"Retry {job.name} of run {run} with", detail)
            if inputs is None:
                return None
            await self.app.feed.request(m.Retry, m.Done, run=run, job=job.name, inputs=inputs)
            return f"{job.name} will be retried"

        self.command(retry())

    def play_job(self, run: int, job: JobView) -> None:
        """Starts a manual or delayed job, after its own confirmation and its inputs if it has some."""
        if job.status not in PLAYABLE:
            self.tell(f"{job.name} is {job.status}: only a manual or delayed job can be played", bad=True)
            return

        async def play() -> str | None:
            detail = await self.app.feed.request(m.GetJob, m.JobDetail, run=run, job=job.name)
            question = detail.job.manual_confirmation
            if question and not await self.app.ask(Confirm(question, f"Play {job.name} of run {run}.")):
                return None
            inputs = await self._inputs(f"Play {job.name} of run {run} with", detail)
            if inputs is None:
                return None
            await self.app.feed.request(m.Play, m.Done, run=run, job=job.name, inputs=inputs)
            return f"{job.name} is started"

        self.command(play())

    def open_shell(self, run: int, job: JobView) -> None:
        """Hands the terminal over to a shell in a job's container, and takes it back."""
        if not job_applies(job, "shell"):
            kept = "; run with --keep-on-failure to keep a failed job's" if job.status in ENDED else ""
            self.tell(f"{job.name} is {job.status} and has no container{kept}", bad=True)
            return

        async def shell() -> str | None:
            try:
                with self.app.suspend():
                    run_shell(self.app.address, run, job.name)
            except SuspendNotSupported:
                what = f"longshore shell {run} {shlex.quote(job.name)}"
                raise LongshoreError(f"a shell needs a terminal: {what}") from None
            return None

        self.command(shell())

    async def _inputs(self, question: str, detail: m.JobDetail) -> dict[str, str] | None:
        """The inputs that the user changes; None if the user gives up."""
        if not detail.job.inputs:
            return {}
        return await self.app.ask(SetInputs(question, detail.job.inputs, detail.inputs))


def job_applies(job: JobView | None, action: str) -> bool:
    """Whether a job action could have an effect on this job."""
    match action:
        case "play":
            return job is not None and job.status in PLAYABLE
        case "cancel":
            return job is not None and job.status not in ENDED
        case "retry":
            return job is not None and job.status in ENDED
        case "shell":
            return job is not None and (job.status is ExecutionStatus.RUNNING or job.kept_until is not None)
    return True


def run_applies(run: RunSummary | None, action: str) -> bool:
    """Whether a run action could have an effect on this run."""
    counts = run.counts if run is not None else {}
    match action:
        case "cancel_run":
            return run is not None and run.status not in ENDED
        case "retry_run":
            return any(counts.get(status.value) for status in UNSUCCESSFUL)
        case "retry_failed" | "next_failed":
            return bool(counts.get(ExecutionStatus.FAILED.value))
    return True
