"""A running run in a few lines: stages, active jobs, elapsed time. Prints nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from rich.text import Text

from cli.render.tables import SIGNS
from protocol.display import clean
from protocol.statuses import AT_WORKER, ENDED, ExecutionStatus
from protocol.views import JobView

BAR = 20
"""Columns of a stage's progress bar, space permitting."""
LONGEST_NAME = 24
"""Columns of a stage's or worker's name."""


class Overview:
    """A run's jobs by stage, and the time since each last changed, by this machine's clock."""

    def __init__(self, run: int, stages: Mapping[str, list[str]]) -> None:
        self._run = run
        self._stages = stages
        self._jobs: dict[str, JobView] = {}
        self._since: dict[str, float] = {}
        self._started = time.monotonic()

    def take(self, job: JobView) -> None:
        """Updates a job."""
        before = self._jobs.get(job.name)
        if before is None or (before.status, before.attempt) != (job.status, job.attempt):
            self._since[job.name] = time.monotonic() - (_running_for(job) if before is None else 0.0)
        self._jobs[job.name] = job

    def lines(self, width: int, height: int) -> list[Text]:
        """At most `height` lines for `width` columns; longer ones may be cut."""
        busy = sorted((job for job in self._jobs.values() if job.status in AT_WORKER), key=self._urgency)
        room = max(height - 1, 0)
        stages = self._most_telling_stages(max(room - min(len(busy), room // 2), 0))
        room -= len(stages)
        shown = busy if len(busy) <= room else busy[: max(room - 1, 0)]
        names = min(max(map(len, stages), default=0), LONGEST_NAME)
        lines = [self._stage_line(stage, names, width) for stage in stages]
        lines += [self._job_line(job) for job in shown]
        if len(shown) < len(busy) and len(shown) < room:
            lines.append(Text(f"  … and {len(busy) - len(shown)} more", style="bright_black"))
        return [*lines, self._total(len(busy))]

    def _urgency(self, job: JobView) -> tuple[bool, float]:
        return job.status is not ExecutionStatus.RUNNING, self._since[job.name]

    def _most_telling_stages(self, count: int) -> list[str]:
        """The selected stages in order; if there are too many, finished ones are dropped first, then the last ones."""
        if len(self._stages) <= count:
            return list(self._stages)
        ended = {name for name, jobs in self._stages.items() if all(s in ENDED for s in self._statuses(jobs))}
        kept = [name for name in self._stages if name not in ended][:count]
        return kept or list(self._stages)[:count]

    def _statuses(self, names: Collection[str]) -> list[ExecutionStatus]:
        return [self._jobs[name].status if name in self._jobs else ExecutionStatus.CREATED for name in names]

    def _stage_line(self, stage: str, names: int, width: int) -> Text:
        jobs = self._stages[stage]
        statuses = self._statuses(jobs)
        failed = sum(
            job.status is ExecutionStatus.FAILED and not job.allow_failure
            for name in jobs
            if (job := self._jobs.get(name))
        )
        done = sum(status in ENDED for status in statuses)
        sign, color = SIGNS[_stage_status(statuses, failed=bool(failed))]
        line = Text(f"{sign} ", style=color)
        label = Text(clean(stage))
        label.truncate(names, overflow="ellipsis", pad=True)
        line.append_text(label)
        if (bar := min(BAR, width - names - 12)) > 3:
            filled = bar * done // len(jobs)
            line.append(" " + "━" * filled, style=color)
            line.append("─" * (bar - filled), style="bright_black")
        line.append(f" {done}/{len(jobs)}", style="default")
        if failed:
            line.append(f" {failed} failed", style="red")
        return line

    def _job_line(self, job: JobView) -> Text:
        sign, color = SIGNS[job.status]
        line = Text("  ")
        line.append(f"{sign} ", style=color)
        line.append(_clock(time.monotonic() - self._since[job.name]).rjust(5) + " ")
        line.append(clean(job.name), style="bold")
        line.append(f" {job.status}" + (f" on {clean(job.worker)}" if job.worker else ""), style="bright_black")
        return line

    def _total(self, busy: int) -> Text:
        every = [name for jobs in self._stages.values() for name in jobs]
        done = sum(status in ENDED for status in self._statuses(every))
        text = f"Run {self._run}: {_clock(time.monotonic() - self._started)}, {done} of {len(every)} jobs done"
        return Text(text + (f", {busy} at work" if busy else ""))


def _running_for(job: JobView) -> float:
    """Seconds that a job had already run when first reported."""
    if job.status is not ExecutionStatus.RUNNING or job.started_at is None:
        return 0.0
    return max(0.0, time.time() - job.started_at)


def _stage_status(statuses: list[ExecutionStatus], *, failed: bool) -> ExecutionStatus:
    """The status shown for a stage: a failure first, then active jobs, then pending ones."""
    if failed:
        return ExecutionStatus.FAILED
    for status in (
        ExecutionStatus.RUNNING,
        ExecutionStatus.PREPARING,
        ExecutionStatus.WAITING,
        ExecutionStatus.PENDING,
        ExecutionStatus.SCHEDULED,
        ExecutionStatus.MANUAL,
        ExecutionStatus.CREATED,
        ExecutionStatus.CANCELED,
    ):
        if status in statuses:
            return status
    skipped = all(status is ExecutionStatus.SKIPPED for status in statuses)
    return ExecutionStatus.SKIPPED if skipped else ExecutionStatus.SUCCESS


def _clock(seconds: float) -> str:
    """0:07, 12:34, 1:02:03: whole seconds, so that the text changes once a second."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
