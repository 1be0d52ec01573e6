"""Formats statuses, times, sizes and untrusted names as words and symbols. Pure: no clock, no widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from protocol.display import clean
from protocol.statuses import ENDED, SHAPES, ExecutionStatus, WorkerStatus
from protocol.views import AttemptView, JobView, RunSummary, WorkerView
from tui.presentation.spans import Spans

S = ExecutionStatus


@dataclass(frozen=True, slots=True)
class Sign:
    """Three representations of a status, so that colour is never the only one: shape, letter, and a colour's name.

    `color` is a colour of the theme (success, error, ...), or "" for plain text; `label` is the word.
    """

    shape: str
    letter: str
    color: str
    label: str

    def __str__(self) -> str:
        return f"{self.shape}{self.letter}"


SIGNS: dict[ExecutionStatus, Sign] = {
    S.SUCCESS: Sign(SHAPES[S.SUCCESS], "S", "success", "success"),
    S.FAILED: Sign(SHAPES[S.FAILED], "F", "error", "failed"),
    S.RUNNING: Sign(SHAPES[S.RUNNING], "R", "primary", "running"),
    S.PREPARING: Sign(SHAPES[S.PREPARING], "P", "primary", "preparing"),
    S.WAITING: Sign(SHAPES[S.WAITING], "W", "secondary", "waiting"),
    S.PENDING: Sign(SHAPES[S.PENDING], "Q", "secondary", "pending"),
    S.CREATED: Sign(SHAPES[S.CREATED], "C", "muted", "created"),
    S.MANUAL: Sign(SHAPES[S.MANUAL], "M", "accent", "manual"),
    S.SCHEDULED: Sign(SHAPES[S.SCHEDULED], "D", "accent", "scheduled"),
    S.CANCELED: Sign(SHAPES[S.CANCELED], "X", "muted", "canceled"),
    S.SKIPPED: Sign(SHAPES[S.SKIPPED], "K", "muted", "skipped"),
}
WARNING = Sign("▲", "A", "warning", "failed, allowed")
"""A failed job that is allowed to fail, or a stage that passed with such a job."""
PASSED_WITH_WARNINGS = Sign("▲", "S", "warning", "warnings")
"""A run that passed with allowed failures."""

WORKER_SIGNS: dict[WorkerStatus, Sign] = {
    WorkerStatus.ONLINE: Sign("●", "O", "success", "online"),
    WorkerStatus.DRAINING: Sign("◐", "D", "warning", "draining"),
    WorkerStatus.OFFLINE: Sign("✗", "X", "error", "offline"),
}


def job_sign(job: JobView) -> Sign:
    """A job's symbol; an allowed failure is a warning."""
    if job.status is S.FAILED and job.allow_failure:
        return WARNING
    return SIGNS[job.status]


def run_sign(run: RunSummary) -> Sign:
    """A run's symbol; a success with allowed failures has its own."""
    if run.status is S.SUCCESS and run.warnings:
        return PASSED_WITH_WARNINGS
    return SIGNS[run.status]


def child_sign(job: JobView, runs: Mapping[int, RunSummary]) -> Spans:
    """The newest run that the job has started, and that run's symbol if it is known; nothing if there is none."""
    if not job.child_runs:
        return []
    number = job.child_runs[-1]
    run = runs.get(number)
    sign = run_sign(run) if run is not None else None
    return [(f" → {number}", "muted"), *([(f" {sign}", sign.color)] if sign is not None else [])]


def worker_sign(worker: WorkerView) -> Sign:
    """A worker's symbol."""
    return WORKER_SIGNS[worker.status]


def duration(seconds: float | None) -> str:
    """`0:07`, `12:40`, `1h 05m`, `3d 04h`; a dash for None."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02}h"


def age(seconds: float | None) -> str:
    """Time since: `now`, `12s`, `5m`, `3h`, `2d`; a dash for None."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return "now"


def size(count: int) -> str:
    """A human-readable size: `812 B`, `3.4 MiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def clock(at: float | None) -> str:
    """A time of day in the terminal's time zone: `14:03:59`."""
    return "–" if at is None else datetime.fromtimestamp(at).strftime("%H:%M:%S")


def plural(count: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def elapsed(started: float | None, finished: float | None, now: float) -> float | None:
    """Elapsed seconds so far; None if it has not begun."""
    if started is None:
        return None
    return max(0.0, (now if finished is None else finished) - started)


def queued(job: JobView, now: float) -> float | None:
    """Seconds that a job waited to begin; None if it never did, or is retried (the start of that wait is unknown)."""
    if job.attempt > 1 or job.created_at is None or (job.status in ENDED and job.started_at is None):
        return None
    return max(0.0, (now if job.started_at is None else job.started_at) - job.created_at)


def failure(tried: JobView | AttemptView) -> str:
    """The reason for a job's or an attempt's failure, on one line."""
    reason = str(tried.failure_reason) if tried.failure_reason else "failed"
    if tried.exit_code is not None:
        reason += f", exit code {tried.exit_code}"
    says_more = tried.message and tried.message not in reason
    return clean(f"{reason}: {tried.message}" if says_more else reason)


def why(job: JobView) -> str:
    """The reason for a job's status on one line: its failure or its pending reason."""
    if job.status is S.FAILED:
        return failure(job)
    if job.status in ENDED:
        return clean(job.message or "")
    return clean(job.pending_reason or job.message or "")


def progress(counts: dict[str, int]) -> tuple[int, int]:
    """Number of finished jobs, and of all jobs."""
    ended = sum(count for status, count in counts.items() if status in {s.value for s in ENDED})
    return ended, sum(counts.values())


def matches(words: list[str], *texts: str) -> bool:
    """Whether each word of a filter occurs in one of the texts."""
    joined = "\n".join(texts).lower()
    return all(word in joined for word in words)
