"""What there is to say about a run or a job in two or three lines. Pure.

Colours are the theme's, by name, so that a text fits whichever theme it is shown in.
"""

from __future__ import annotations

from textual.content import Content

from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunSummary
from tui.estimate import Estimate
from tui.present import age, clean, clock, duration, elapsed, job_sign, plural, progress, queued, run_sign, why
from tui.widgets.progress import bar

MUTED = "$foreground 60%"
GAP = "   "
LEGEND_WIDTH = 90
"""Columns that a terminal has to have for the critical path's sign to be explained."""
SHORTEST_BAR, LONGEST_BAR = 10, 30

Piece = str | tuple[str, str]


def run_facts(run: RunSummary, estimate: Estimate, now: float, width: int) -> Content:
    """What it is; how far it is, what that took, what is left. `width` is the terminal's."""
    sign = run_sign(run)
    first: list[Piece] = [
        (f"{sign} {sign.label}", f"bold {color(sign.color)}"),
        f"  run {run.id}  ",
        (clean(run.name), "bold"),
    ]
    if run.project:
        first.append(f"  {clean(run.project)}")
    if run.ref or run.sha:
        first.append((f"  {clean(run.ref)} {clean(run.sha[:8])}", "$text-accent"))
    if run.title and run.title != run.name:
        first.append(f"  {clean(run.title)}")
    cells = max(SHORTEST_BAR, min(LONGEST_BAR, width // 4))
    drawn = [(text, color(paint)) for text, paint in bar(run.counts, cells)]
    notes = _run_notes(run, estimate, now)
    if estimate.critical and width >= LEGEND_WIDTH:
        notes.append("◆ critical path")
    return Content.assemble(*first, "\n", *drawn, "  ", (GAP.join(notes), MUTED))


def _run_notes(run: RunSummary, estimate: Estimate, now: float) -> list[str]:
    ended, total = progress(run.counts)
    notes = [f"{ended}/{plural(total, 'job')}", f"time {duration(elapsed(run.started_at, run.finished_at, now))}"]
    if run.created_at is not None and run.started_at is not None and run.started_at - run.created_at >= 1:
        notes.append(f"queued {duration(run.started_at - run.created_at)}")
    if run.status not in ENDED and estimate.remaining is not None:
        left = estimate.remaining
        notes.append(f"about {duration(left)} left" if left >= 1 else "nearly done")
    if run.finished_at is not None:
        ago = now - run.finished_at
        notes.append(f"ended {f'{age(ago)} ago' if ago >= 1 else 'just now'}, {clock(run.finished_at)}")
    return notes


def job_facts(job: JobView, now: float) -> Content:
    """A job under the cursor: where it is, what it needs and leaves, and why it is as it is."""
    sign = job_sign(job)
    notes = [f"on {clean(job.worker)}"] if job.worker else []
    if job.attempt > 1:
        notes.append(f"attempt {job.attempt}")
    if (taken := elapsed(job.started_at, job.finished_at, now)) is not None:
        notes.append(duration(taken))
    if job.needs:
        notes.append("needs " + ", ".join(clean(need) for need in job.needs))
    if job.artifacts:
        notes.append(plural(len(job.artifacts), "artifact"))
    if job.tests is not None:
        notes.append(f"{plural(job.tests.total, 'test')}, {job.tests.failed + job.tests.errors} failed")
    if job.coverage is not None:
        notes.append(f"coverage {job.coverage:g} %")
    first: list[Piece] = [(f"{sign} {sign.label}", color(sign.color)), "  ", (clean(job.name), "bold")]
    return Content.assemble(*first, ("  " + GAP.join(notes), MUTED), *_reason(job))


def job_head(run: int, job: JobView, stage: str, attempt: int, now: float) -> Content:
    """A job that is looked at; `attempt` is the one whose log is shown."""
    sign = job_sign(job)
    notes = [f"stage {clean(stage)}"] if stage else []
    if job.attempt:
        notes.append(f"attempt {attempt}" + (f" of {job.attempt}" if job.attempt > 1 else ""))
    if job.worker:
        notes.append(f"on {clean(job.worker)}")
    if (taken := elapsed(job.started_at, job.finished_at, now)) is not None:
        notes.append(f"time {duration(taken)}")
    if (waited := queued(job, now)) is not None and waited >= 1:
        notes.append(f"queued {duration(waited)}")
    if job.coverage is not None:
        notes.append(f"coverage {job.coverage:g} %")
    if job.environment:
        notes.append(f"environment {clean(job.environment)} {clean(job.environment_url or '')}".rstrip())
    first: list[Piece] = [
        (f"{sign} {sign.label}", f"bold {color(sign.color)}"),
        f"  run {run}  ",
        (clean(job.name), "bold"),
    ]
    return Content.assemble(*first, ("  " + GAP.join(notes), MUTED), *_reason(job))


def _reason(job: JobView) -> list[Piece]:
    reason = why(job)
    if not reason:
        return []
    return ["\n", (reason, "$text-error" if job.status is ExecutionStatus.FAILED else "$text-secondary")]


def color(paint: str) -> str:
    """A paint's colour as the theme calls it."""
    return {"": "", "strong": "bold", "muted": MUTED}.get(paint, f"$text-{paint}")
