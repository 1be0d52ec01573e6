"""Shows the status of a run's jobs, updated until the run ends: the verb `show --watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import msgspec
from rich.console import Group
from rich.live import Live

from cli.follow.follower import Follower, with_job
from cli.follow.overview import Overview
from cli.render.phrases import job_ending, job_note
from cli.render.tables import console, run_headline, run_table
from cli.session.session import Session
from protocol.display import clean
from protocol.log_times import LogPiece
from protocol.statuses import ENDED
from protocol.views import JobView, RunSummary, RunView

DRAW_SECONDS = 0.125
"""Minimum interval between redraws of the table."""


def watch_run(session: Session, run: RunView) -> None:
    """Shows the run until it ends or waits for a manual job: on a terminal as an updating table, else line by line."""
    if not sys.stdout.isatty():
        Follower(session, run.id, _Lines(), logs=False, children=True).follow()
        return
    out = console(sys.stdout)
    live = Live(console=out, auto_refresh=False, transient=True, vertical_overflow="ellipsis")
    table = _LiveTable(run, live)
    try:
        with live:
            follower = Follower(session, run.id, table, logs=False, children=True)
            table.children = follower.children
            ended = follower.follow()
    except KeyboardInterrupt:  # leaves the last state on screen
        out.print(table.picture())
        raise
    out.print(_whole(ended or table.run, table.children))


def _whole(run: RunView, children: Mapping[int, RunView]) -> Group:
    return Group(run_headline(run), run_table(run, children))


class _LiveTable:
    """Keeps a run's table on a terminal up to date; if it does not fit, shows the stages and active jobs instead."""

    def __init__(self, run: RunView, live: Live) -> None:
        self.run = run
        self.children: Mapping[int, RunView] = {}
        self._own = frozenset(job.name for stage in run.stages for job in stage.jobs)
        self._live = live
        self._drawn_at = 0.0
        self._overview = Overview(run.id, {stage.name: [job.name for job in stage.jobs] for stage in run.stages})
        for stage in run.stages:
            for job in stage.jobs:
                self._overview.take(job)

    def picture(self) -> Group:
        """The run, fitted to one screen."""
        out = self._live.console
        whole = _whole(self.run, self.children)
        if sum(len(stage.jobs) for stage in self.run.stages) < out.height and len(out.render_lines(whole)) < out.height:
            return whole
        *lines, _ = self._overview.lines(out.width, out.height - 1)
        for line in lines:
            line.truncate(out.width, overflow="ellipsis")
        return Group(run_headline(self.run), *lines)

    def job_log(self, job: JobView, piece: LogPiece) -> None:
        """Unused: the table shows no logs."""

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        self._overview.take(job)
        if job.name in self._own:  # not one of a child run, which the follower keeps
            self.run = with_job(self.run, job)

    def run_changed(self, run: RunSummary) -> None:
        changed = {name: getattr(run, name) for name in RunSummary.__struct_fields__}
        self.run = msgspec.structs.replace(self.run, **changed)

    def time_passes(self) -> None:
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self._drawn_at = time.monotonic()
            self._live.update(self.picture(), refresh=True)

    def connection(self, lost: bool) -> None:
        if lost:
            self._live.console.print("the coordinator does not answer; waiting for it")


class _Lines:
    """Prints a line per status change."""

    def __init__(self) -> None:
        self._last = ""

    def job_log(self, job: JobView, piece: LogPiece) -> None:
        """Unused: status lines show no logs."""

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        if before is None or (before.status, before.attempt) != (job.status, job.attempt):
            print(clean(f"{job.name}: {_standing(job)}"), flush=True)

    def run_changed(self, run: RunSummary) -> None:
        if run.status != self._last:
            self._last = run.status
            print(f"run {run.id}: {run.status}", flush=True)

    def time_passes(self) -> None:
        """Unused: status lines need no clock."""

    def connection(self, lost: bool) -> None:
        if lost:
            print("the coordinator does not answer; waiting for it", file=sys.stderr)


def _standing(job: JobView) -> str:
    if job.status in ENDED:
        return job_ending(job)
    text = f"{job.status} on {job.worker}" if job.worker else str(job.status)
    note = job_note(job)
    return f"{text}: {note}" if note else text
