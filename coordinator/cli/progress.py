"""What `run` shows while a run goes on: its jobs' logs, what becomes of them, why nothing moves, and a summary."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TextIO

from coordinator.cli.output import JobOutput
from coordinator.cli.words import duration, elapsed, job_note
from protocol.statuses import AT_WORKER, ENDED, ExecutionStatus
from protocol.views import JobView, RunView

STUCK_SECONDS = 3.0
"""After so long with no job at a worker, the reason is told."""


class Progress:
    """A listener that prints on `stream`."""

    def __init__(self, run: int, jobs: list[str], stream: TextIO) -> None:
        self._stream = stream
        self._output = JobOutput(stream.buffer, jobs, colors=stream.isatty())
        self._run = run
        self._jobs: dict[str, JobView] = {}
        self._moved_at = time.monotonic()
        self._told: dict[str, str] = {}

    def say(self, text: str) -> None:
        """A line that is about no job."""
        print(f"longshore: {text}", file=sys.stderr, flush=True)

    def job_log(self, job: JobView, data: bytes | memoryview) -> None:
        self._output.log(job.name, data)

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        self._jobs[job.name] = job
        was = None if before is None or before.attempt != job.attempt else before.status
        if job.status is was:
            return
        self._moved_at = time.monotonic()
        if job.status in ENDED:
            self._output.end(job.name)
            self._output.note(job.name, _ending(job), bad=job.status is ExecutionStatus.FAILED)
        elif job.status is ExecutionStatus.RUNNING:
            again = f", attempt {job.attempt}" if job.attempt > 1 else ""
            self._output.note(job.name, f"running on {job.worker}{again}")
        elif job.status is ExecutionStatus.SCHEDULED:
            self._output.note(job.name, f"{job.pending_reason}; `longshore play` starts it at once")

    def time_passes(self) -> None:
        if time.monotonic() - self._moved_at < STUCK_SECONDS:
            return
        if any(job.status in AT_WORKER for job in self._jobs.values()):
            return
        for job in self._jobs.values():
            reason = job.pending_reason or ""
            if job.status is ExecutionStatus.PENDING and reason and self._told.get(job.name) != reason:
                self._told[job.name] = reason
                self._output.note(job.name, f"pending: {reason}")

    def connection(self, lost: bool) -> None:
        self.say("the coordinator does not answer; waiting for it" if lost else "the coordinator answers again")

    def sum_up(self, run: RunView) -> None:
        """The run's end: its jobs in a table."""
        from coordinator.cli.tables import console, run_headline, run_table

        out = console(self._stream)
        out.print()
        out.print(run_table(run))
        out.print()
        out.print(run_headline(run))
        manual = [job for stage in run.stages for job in stage.jobs if job.status is ExecutionStatus.MANUAL]
        if run.status is ExecutionStatus.MANUAL:
            self.say(f"run {run.id} goes on when these jobs are played:")
            for job in manual:
                if not job.allow_failure:
                    self.say(f"  longshore play {run.id} {shlex.quote(job.name)}")
        elif manual:
            names = ", ".join(job.name for job in manual)
            self.say(f"not played, and not waited for: {names}; `longshore play {run.id} JOB` starts one")


def _ending(job: JobView) -> str:
    seconds = elapsed(job.started_at, job.finished_at)
    text = str(job.status) if seconds is None else f"{job.status} in {duration(seconds)}"
    note = job_note(job)
    return f"{text}: {note}" if note else text
