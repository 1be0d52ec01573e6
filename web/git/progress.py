"""Follows the runs of a push and words their progress in lines, for whoever pushes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from protocol import messages as m
from protocol.client import Client
from protocol.display import clean
from protocol.errors import CoordinatorUnreachable
from protocol.projects import TriggerSpec
from protocol.statuses import ExecutionStatus
from protocol.views import JobView, RunView

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 300.0
"""Time for which a coordinator that does not answer is waited for."""
SIGNS = {
    ExecutionStatus.SUCCESS: "✔",
    ExecutionStatus.FAILED: "✘",
    ExecutionStatus.CANCELED: "⊘",
    ExecutionStatus.SKIPPED: "-",
}

T = TypeVar("T")
Say = Callable[[str], None]
"""Prints a line; an empty one only asks whether anybody listens still. Raises ConnectionError if nobody does."""


def add(client: Client, triggers: list[TriggerSpec], say: Say) -> list[int]:
    """Adds triggers, durably; returns the ids of those that will start runs. Says why others do not."""
    added = []
    for trigger in triggers:
        reply = client.request(m.AddTrigger, m.TriggerAdded, trigger=trigger)
        if reply.trigger:
            added.append(reply.trigger)
        else:
            say(f"Longshore: no run for {trigger.ref}: {clean(reply.reason)}")
    return added


def follow(client: Client, trigger: int, say: Say) -> bool:
    """Says what becomes of a trigger until its run ends. Returns whether it succeeded, or no job was to run.

    Raises CoordinatorUnreachable if the coordinator stays away; whatever `say` raises ends it.
    """
    view = _patiently(lambda: client.request(m.GetTrigger, m.TriggerDetail, trigger=trigger).trigger, say)
    while view.state == "pending":
        time.sleep(POLL_SECONDS)
        say("")
        view = _patiently(lambda: client.request(m.GetTrigger, m.TriggerDetail, trigger=trigger).trigger, say)
    if view.run is None:
        say(f"Longshore: no run for {clean(view.ref)}: {clean(view.reason)}")
        return view.state == "skipped"
    return _follow_run(client, view.run, view.ref, say)


def _follow_run(client: Client, id: int, ref: str, say: Say) -> bool:
    told: dict[str, ExecutionStatus] = {}
    say(f"Longshore: run {id} of {clean(ref)}")
    while True:
        run = _patiently(lambda: client.get_run(id), say)
        for line in _news(run, told):
            say(line)
        if run.finished_at is not None:
            say(f"Longshore: run {id}: {run.status}; longshore show {id}")
            return run.status is ExecutionStatus.SUCCESS
        if run.status is ExecutionStatus.MANUAL:
            say(f"Longshore: run {id} waits for a manual job: longshore play {id} JOB")
            return False
        time.sleep(POLL_SECONDS)
        say("")


def _news(run: RunView, told: dict[str, ExecutionStatus]) -> list[str]:
    """Lines about jobs that have ended since the last call."""
    lines = []
    for stage in run.stages:
        for job in stage.jobs:
            if job.status in SIGNS and told.get(job.name) is not job.status:
                told[job.name] = job.status
                lines.append(_line(job))
    return lines


def _line(job: JobView) -> str:
    taken = f", {job.finished_at - job.started_at:.0f} s" if job.finished_at and job.started_at else ""
    allowed = " (allowed to fail)" if job.status is ExecutionStatus.FAILED and job.allow_failure else ""
    return f"  {SIGNS[job.status]} {clean(job.name)}: {job.status}{allowed}{taken}"


def _patiently(ask: Callable[[], T], say: Say) -> T:
    """The answer to a question, which is repeated while the coordinator is away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except CoordinatorUnreachable:
            say("")
            if time.monotonic() > deadline:
                raise
