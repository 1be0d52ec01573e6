"""Runs, jobs and workers as tables. Coloured only if the terminal supports it, which rich decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.render.phrases import duration, elapsed, failure_text, job_note, origin_of_run, own_files
from cli.render.safe_console import PlainConsole
from protocol.job_inputs import written
from protocol.messages import JobDetail
from protocol.statuses import ENDED, SHAPES, ExecutionStatus, WorkerStatus
from protocol.views import RunSummary, RunView, WorkerView

COLORS = {
    ExecutionStatus.SUCCESS: "green",
    ExecutionStatus.FAILED: "red",
    ExecutionStatus.CANCELED: "magenta",
    ExecutionStatus.SKIPPED: "bright_black",
    ExecutionStatus.RUNNING: "cyan",
    ExecutionStatus.PREPARING: "cyan",
    ExecutionStatus.WAITING: "blue",
    ExecutionStatus.PENDING: "yellow",
    ExecutionStatus.MANUAL: "yellow",
    ExecutionStatus.SCHEDULED: "yellow",
    ExecutionStatus.CREATED: "bright_black",
}
SIGNS = {status: (SHAPES[status], color) for status, color in COLORS.items()}
"""Symbol and colour per status; the word always accompanies them, so neither is required."""
WORKER_COLORS = {WorkerStatus.ONLINE: "green", WorkerStatus.DRAINING: "yellow", WorkerStatus.OFFLINE: "red"}
INDENT = "  "
"""Before the jobs of a child run, per level."""
NO_CHILDREN: Mapping[int, RunView] = MappingProxyType({})
PIPE_WIDTH = 200
"""Width without a terminal, so that nothing is cut in a file."""


def console(stream: IO[str]) -> Console:
    """A console on `stream`, wide if that is not a terminal."""
    return PlainConsole(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def status_text(status: ExecutionStatus, *, warning: bool = False) -> Text:
    """A status with its symbol; `warning` marks an allowed failure."""
    sign, color = ("!", "yellow") if warning else SIGNS[status]
    return Text(f"{sign} {status}", style=color)


def run_table(run: RunView, children: Mapping[int, RunView] = NO_CHILDREN) -> Table:
    """A run's jobs by stage; below a job, those of the newest run that it has started, if that is in `children`."""
    table = plain_table("Stage", "Job", "Status", "Duration", "Worker", "Why")
    _add_jobs(table, run, children, "")
    return table


def _add_jobs(table: Table, run: RunView, children: Mapping[int, RunView], indent: str) -> None:
    for stage in run.stages:
        for number, job in enumerate(stage.jobs):
            failed_softly = job.status is ExecutionStatus.FAILED and job.allow_failure
            table.add_row(
                indent + stage.name if number == 0 else "",
                Text(indent + job.name + (f" (attempt {job.attempt})" if job.attempt > 1 else "")),
                status_text(job.status, warning=failed_softly),
                duration(elapsed(job.started_at, job.finished_at) if job.status in ENDED or job.started_at else None),
                job.worker or "",
                Text(job_note(job)),
            )
            child = children.get(job.child_runs[-1]) if job.child_runs else None
            if child is not None:
                _add_jobs(table, child, children, indent + INDENT)


def run_headline(run: RunSummary) -> Text:
    """A run in one line."""
    text = Text(f"Run {run.id} ")
    text.append_text(status_text(run.status, warning=run.warnings and run.status is ExecutionStatus.SUCCESS))
    if run.warnings and run.status is ExecutionStatus.SUCCESS:
        text.append(" with warnings")
    if (seconds := elapsed(run.started_at, run.finished_at)) is not None:
        text.append(f" {'in' if run.finished_at else 'for'} {duration(seconds)}")
    return text


def runs_table(runs: Iterable[RunSummary]) -> Table:
    """Runs, one per line."""
    table = plain_table("Run", "Status", "Name", "Project", "Ref", "Jobs", "Created", "Duration")
    for run in runs:
        done, every = sum(run.counts.get(str(status), 0) for status in ENDED), sum(run.counts.values())
        table.add_row(
            str(run.id),
            status_text(run.status, warning=run.warnings and run.status is ExecutionStatus.SUCCESS),
            Text(run.name + (f" ({origin_of_run(run.parent)})" if run.parent else "")),
            Text(run.project),
            Text(run.ref + (f" {run.sha[:8]}" if run.sha else "")),
            f"{done}/{every}",
            "" if run.created_at is None else f"{duration(time.time() - run.created_at)} ago",
            duration(elapsed(run.started_at, run.finished_at)),
        )
    return table


def workers_table(workers: Iterable[WorkerView]) -> Table:
    """Workers, one per line."""
    table = plain_table("Worker", "Status", "Slots", "Running", "Waiting", "Kept", "Labels", "Last seen", "Engine")
    for worker in workers:
        table.add_row(
            worker.name,
            Text(str(worker.status), style=WORKER_COLORS[worker.status]),
            str(worker.slots),
            str(worker.running),
            str(worker.waiting),
            str(len(worker.kept)),
            Text(", ".join(worker.labels)),
            "" if worker.last_seen is None else f"{duration(time.time() - worker.last_seen)} ago",
            Text(worker.executor.engine),
        )
    return table


def attempts_table(detail: JobDetail) -> Table:
    """The attempts of a job."""
    has_inputs = any(attempt.inputs for attempt in detail.attempts)
    has_files = any(attempt.workspace for attempt in detail.attempts)
    columns = ["Inputs"] * has_inputs + ["Files"] * has_files
    table = plain_table("Attempt", "Status", "Duration", "Worker", *columns, "Why")
    for attempt in detail.attempts:
        inputs = " ".join(f"{name}={written(value)}" for name, value in attempt.inputs.items())
        failed = attempt.status is ExecutionStatus.FAILED
        why = failure_text(attempt.failure_reason, attempt.exit_code, attempt.message) if failed else attempt.message
        table.add_row(
            str(attempt.number),
            status_text(attempt.status),
            duration(elapsed(attempt.started_at, attempt.finished_at)),
            attempt.worker or "",
            *[Text(inputs)] * has_inputs,
            *[own_files(attempt) or "the run's"] * has_files,
            Text(why or ""),
        )
    return table


def story_table(details: Iterable[tuple[str, JobDetail]]) -> Table:
    """Events of jobs in chronological order."""
    table = plain_table("When", "Job", "Attempt", "What happened")
    lines = sorted(((line, name) for name, detail in details for line in detail.story), key=lambda pair: pair[0].at)
    for line, name in lines:
        moment = time.strftime("%H:%M:%S", time.localtime(line.at)) + f".{int(line.at * 1000) % 1000:03}"
        table.add_row(moment, Text(name), line.attempt or "", Text(line.text))
    return table


def rows_table(rows: Sequence[dict[str, Any]], words: Callable[[Any], str]) -> Table:
    """Records with identical keys, one per line."""
    table = plain_table(*(key.replace("_", " ") for key in rows[0]))
    for row in rows:
        table.add_row(*(Text(words(value)) for value in row.values()))
    return table


def plain_table(*columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
