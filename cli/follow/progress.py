"""Output of `run` during a run: job logs, status changes, reasons for a stall, and a summary."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from cli.follow.log_prefixer import JobOutput
from cli.render.phrases import awaited_run, job_ending
from cli.summary.outcome import Outcome
from protocol.display import clean
from protocol.log_times import LogPiece
from protocol.statuses import AT_WORKER, ENDED, UNFINISHED, ExecutionStatus
from protocol.views import JobView, RunSummary, RunView

STUCK_SECONDS = 3.0
"""With no job on a worker for this long, the pending reason is printed."""


class Progress:
    """A listener that prints to `stream`; if `live`, with the run's stages and active jobs below the lines.

    `stages` maps each stage to its jobs' names.
    """

    def __init__(self, run: int, stages: Mapping[str, list[str]], stream: TextIO, *, live: bool) -> None:
        self._stream = stream
        self._live = _Live(run, stages, stream) if live else None
        names = [name for jobs in stages.values() for name in jobs]
        self._output = JobOutput(self._live.foot if self._live else stream.buffer, names, colors=stream.isatty())
        self._run = run
        self._jobs: dict[str, JobView] = {}
        self._moved_at = time.monotonic()
        self._reasons: dict[str, str] = {}
        self._begun: dict[str, int] = {}
        self._when_ended: Callable[[JobView], None] = lambda job: None

    def when_ended(self, do: Callable[[JobView], None]) -> None:
        """Sets what to do with each job that has ended, besides saying so."""
        self._when_ended = do

    def say(self, text: str) -> None:
        """Prints a line that concerns no particular job."""
        if self._live is not None:
            self._live.foot.away()
        print(f"longshore: {clean(text)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the live view; lines can still be printed."""
        if self._live is not None:
            self._live.foot.close()

    def job_log(self, job: JobView, piece: LogPiece) -> None:
        self._begins(job)
        self._output.log(job.name, piece.data)

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        self._jobs[job.name] = job
        if self._live is not None:
            self._live.overview.take(job)
        was = None if before is None or before.attempt != job.attempt else before.status
        if job.status is was:
            return
        self._moved_at = time.monotonic()
        if job.status in ENDED:
            self._when_ended(job)
            self._output.end(job.name)
            self._output.note(job.name, job_ending(job), bad=job.status is ExecutionStatus.FAILED)
        elif job.status is ExecutionStatus.RUNNING:
            self._begins(job)
            if awaited := awaited_run(job):
                self._output.note(job.name, awaited)
        elif job.status is ExecutionStatus.SCHEDULED:
            self._output.note(job.name, f"{job.pending_reason}; `longshore play` starts it at once")

    def _begins(self, job: JobView) -> None:
        """Reports once which worker runs an attempt: its log may arrive before its status."""
        if self._begun.get(job.name) != job.attempt and job.worker is not None:
            self._begun[job.name] = job.attempt
            again = f", attempt {job.attempt}" if job.attempt > 1 else ""
            self._output.note(job.name, f"running on {job.worker}{again}")

    def time_passes(self) -> None:
        if self._live is not None:
            self._live.foot.tick()
        self._tell_why_nothing_moves()

    def run_changed(self, run: RunSummary) -> None:
        """Unused: job events suffice."""

    def _tell_why_nothing_moves(self) -> None:
        if time.monotonic() - self._moved_at < STUCK_SECONDS:
            return
        if any(job.status in AT_WORKER for job in self._jobs.values()):
            return
        for job in self._jobs.values():
            reason = job.pending_reason or ""
            if job.status is ExecutionStatus.PENDING and reason and self._reasons.get(job.name) != reason:
                self._reasons[job.name] = reason
                self._output.note(job.name, f"pending: {reason}")

    def connection(self, lost: bool) -> None:
        self.say("the coordinator does not answer; waiting for it" if lost else "the coordinator answers again")

    def sum_up(self, run: RunView, children: Mapping[int, RunView], outcome: Outcome) -> None:
        """Prints the run's jobs as a table at its end, with those of `children`, the runs that they have started, and
        what went wrong.
        """
        from cli.render.reports import links_table
        from cli.render.tables import console, run_headline, run_table
        from cli.summary.text import failure_lines, timing_lines

        out = console(self._stream)
        out.print()
        out.print(run_table(run, children))
        out.print()
        if (links := links_table(run, children)) is not None:
            out.print(links)
            out.print()
        for lines in (*failure_lines(outcome), timing_lines(run, outcome)):
            for line in lines:
                out.print(line, soft_wrap=True)
            if lines:
                out.print()
        out.print(run_headline(run))
        for each in (run, *children.values()):
            self._name_manual_jobs(each)
        for each in children.values():
            if each.status in UNFINISHED and each.parent is not None and each.parent.project:
                self.say(f"run {each.id} of {each.project} goes on; `longshore cancel {each.id}` cancels it")

    def _name_manual_jobs(self, run: RunView) -> None:
        manual = [job for stage in run.stages for job in stage.jobs if job.status is ExecutionStatus.MANUAL]
        if run.status is ExecutionStatus.MANUAL:
            self.say(f"run {run.id} continues when these jobs are played:")
            for job in manual:
                if not job.allow_failure:
                    self.say(f"  longshore play {run.id} {shlex.quote(job.name)}")
        elif manual:
            names = ", ".join(job.name for job in manual)
            self.say(f"manual jobs not played (optional): {names}; `longshore play {run.id} JOB` starts one")


class _Live:
    """The live view of `run` on a terminal; imports rich."""

    def __init__(self, run: int, stages: Mapping[str, list[str]], stream: TextIO) -> None:
        from cli.follow.live_footer import LiveFooter
        from cli.follow.overview import Overview

        self.overview = Overview(run, stages)
        self.foot = LiveFooter(stream, self.overview.lines)
