"""Summaries of a run or a job in two or three lines. Pure.

Colours are theme names, so that a text fits any theme. If a line is too short, the least important pieces are dropped
first; nothing is broken in the middle but a name that does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual.content import Content

from protocol.display import clean
from protocol.reports import JobReports
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunSummary
from tui.presentation.eta import Estimate
from tui.presentation.formatting import age, clock, duration, elapsed, job_sign, plural, progress, queued, run_sign, why
from tui.presentation.progress_bar import bar
from tui.presentation.spans import fit

MUTED = "$foreground 60%"
GAP = 3
PADDING = 2
"""Horizontal padding of the bars that contain these texts, in cells."""
LEAST_CUT = 10
"""Minimum width of a truncated piece; with less room it is dropped."""
SHORTEST_BAR, LONGEST_BAR = 10, 30

Piece = tuple[str, str]
"""Words that stay together, and their style."""


def flow(pieces: Sequence[Piece], width: int, lines: int = 1, *, cut: bool = True) -> Content:
    """Lays out pieces on at most `lines` lines of `width` cells. Pieces that do not fit are dropped.

    With `cut`, the first of them is truncated instead, and the rest are dropped.
    """
    rows: list[list[Piece]] = [[]]
    used = 0
    for text, style in pieces:
        gap = GAP if rows[-1] else 0
        if used + gap + cell_len(text) > width and rows[-1] and len(rows) < lines:
            rows.append([])
            used = gap = 0
        room = width - used - gap
        if cell_len(text) > room:
            if not cut:
                continue
            if room >= LEAST_CUT:
                rows[-1].append((fit(text, room), style))
            break
        rows[-1].append((text, style))
        used += gap + cell_len(text)
    return Content("\n").join([Content(" " * GAP).join([Content.assemble(piece) for piece in row]) for row in rows])


def run_facts(run: RunSummary, estimate: Estimate, now: float, width: int) -> Content:
    """A run's identity, progress, elapsed and remaining time. `width` is the terminal's."""
    sign = run_sign(run)
    room = width - PADDING
    first: list[Piece] = [
        (f"{sign} {sign.label}", f"bold {color(sign.color)}"),
        (f"run {run.id}", ""),
        (clean(run.name), "bold"),
    ]
    if run.ref or run.sha:
        first.append((f"{clean(run.ref)} {clean(run.sha[:8])}".strip(), "$text-accent"))
    if run.project:
        first.append((clean(run.project), ""))
    if run.title and run.title != run.name:
        first.append((clean(run.title), ""))
    cells = max(SHORTEST_BAR, min(LONGEST_BAR, width // 4))
    drawn = [(text, color(paint)) for text, paint in bar(run.counts, cells)]
    notes = _run_notes(run, estimate, now)
    if estimate.critical:
        notes.append("◆ critical path")
    second = flow([(note, MUTED) for note in notes], room - cells - GAP, cut=False)
    return Content.assemble(flow(first, room), "\n", *drawn, " " * GAP, second)


def _run_notes(run: RunSummary, estimate: Estimate, now: float) -> list[str]:
    ended, total = progress(run.counts)
    notes = []
    if run.parent is not None:
        what, whose = ("started by", f" of {clean(run.parent.project)}") if run.parent.project else ("child of", "")
        notes.append(f"{what} run {run.parent.run}, job {clean(run.parent.job)}{whose}")
    notes += [f"{ended}/{plural(total, 'job')}", f"time {duration(elapsed(run.started_at, run.finished_at, now))}"]
    if run.created_at is not None and run.started_at is not None and run.started_at - run.created_at >= 1:
        notes.append(f"queued {duration(run.started_at - run.created_at)}")
    if run.status not in ENDED and estimate.remaining is not None:
        left = estimate.remaining
        notes.append(f"about {duration(left)} left" if left >= 1 else "nearly done")
    if run.finished_at is not None:
        ago = now - run.finished_at
        notes += [f"ended {f'{age(ago)} ago' if ago >= 1 else 'just now'}", f"at {clock(run.finished_at)}"]
    return notes


def job_facts(job: JobView, runs: Mapping[int, RunSummary], now: float, width: int, *, offline: bool) -> Content:
    """The job under the cursor: location, needs, child, outputs and the reason for its status. `offline`: see `_place`.

    `runs` has the child runs that jobs have started.
    """
    sign = job_sign(job)
    notes = [_place(job, offline)] if job.worker else []
    if job.attempt > 1:
        notes.append(f"attempt {job.attempt}")
    if (taken := elapsed(job.started_at, job.finished_at, now)) is not None:
        notes.append(duration(taken))
    if job.child_runs:
        child = runs.get(job.child_runs[-1])
        whose = f" of {clean(job.downstream_project)}" if job.downstream_project else ""
        sign_of_child = f" {run_sign(child).label}" if child is not None else ""
        notes.append(f"{'run' if whose else 'child run'} {job.child_runs[-1]}{whose}{sign_of_child}")
    if job.mirrors is not None:
        notes.append(f"takes the status of run {job.mirrors}")
    if job.needs:
        notes.append("needs " + ", ".join(clean(need) for need in job.needs))
    if job.artifacts:
        notes.append(plural(len(job.artifacts), "artifact"))
    if job.tests is not None:
        notes.append(f"{plural(job.tests.total, 'test')}, {job.tests.failed + job.tests.errors} failed")
    if job.coverage is not None:
        notes.append(f"coverage {job.coverage:g} %")
    if job.reports is not None:
        notes += _report_notes(job.reports)
    first: list[Piece] = [(f"{sign} {sign.label}", color(sign.color)), (clean(job.name), "bold")]
    return Content.assemble(flow([*first, *((note, MUTED) for note in notes)], width - PADDING), *_reason(job))


def _report_notes(reports: JobReports) -> list[str]:
    lines, quality = reports.lines, reports.quality
    notes = [f"{lines.percent} of lines covered"] if lines is not None else []
    if quality is not None:
        notes.append(plural(quality.total, "issue") + (f": {quality.by_severity}" if quality.total else ""))
    return notes + ([plural(len(reports.links), "link")] if reports.links else [])


def job_head(run: int, job: JobView, stage: str, attempt: int, now: float, width: int, *, offline: bool) -> Content:
    """Head of a job's page; `attempt` is the one whose log is shown. `offline`: see `_place`."""
    sign = job_sign(job)
    notes = [f"stage {clean(stage)}"] if stage else []
    if job.attempt:
        notes.append(f"attempt {attempt}" + (f" of {job.attempt}" if job.attempt > 1 else ""))
    if job.worker:
        notes.append(_place(job, offline))
    if (taken := elapsed(job.started_at, job.finished_at, now)) is not None:
        notes.append(f"time {duration(taken)}")
    if (waited := queued(job, now)) is not None and waited >= 1:
        notes.append(f"queued {duration(waited)}")
    if job.coverage is not None:
        notes.append(f"coverage {job.coverage:g} %")
    if job.environment:
        notes.append(f"environment {clean(job.environment)} {clean(job.environment_url or '')}".rstrip())
    if job.release is not None:
        notes.append(f"release {clean(job.release.tag_name)}")
    first: list[Piece] = [
        (f"{sign} {sign.label}", f"bold {color(sign.color)}"),
        (f"run {run}", ""),
        (clean(job.name), "bold"),
    ]
    return Content.assemble(flow([*first, *((note, MUTED) for note in notes)], width - PADDING, 2), *_reason(job))


NOTHING_WRITTEN = "It wrote nothing."


def no_log(job: JobView) -> str:
    """Placeholder for a job's log while it is empty."""
    match job.status:
        case ExecutionStatus.RUNNING:
            return "Nothing written yet."
        case ExecutionStatus.PREPARING:
            return "Nothing written yet: preparing its image, container and workspace."
        case ExecutionStatus.MANUAL | ExecutionStatus.SCHEDULED:
            return "Not begun: p plays it."
        case status if status in ENDED:
            return NOTHING_WRITTEN if job.attempt else "Never attempted."
        case _:
            return "Not begun."


def _place(job: JobView, offline: bool) -> str:
    """A job's location; `offline`: its worker has not been heard of for a while."""
    return f"on {clean(job.worker or '')}{', which is offline' if offline and job.status not in ENDED else ''}"


def _reason(job: JobView) -> list[str | Piece]:
    reason = why(job)
    if not reason:
        return []
    return ["\n", (reason, "$text-error" if job.status is ExecutionStatus.FAILED else "$text-secondary")]


def color(paint: str) -> str:
    """A paint's colour in the theme."""
    return {"": "", "strong": "bold", "muted": MUTED}.get(paint, f"$text-{paint}")
