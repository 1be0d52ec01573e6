"""Decisions about one job, from its plan and the jobs before it, and their reasons in words. Pure."""

from __future__ import annotations

from coordinator.engine.run_index import Outcome, Part, RunIndex, is_open, part_of
from coordinator.engine.state import JobState, RunState
from protocol.statuses import FailureReason

NAMES_SHOWN = 5
"""Jobs that a reason names; the rest are counted."""
MOST_LEVELS = 2
"""Levels of child runs below a run, as in GitLab."""


def is_asked_for(job: JobState, before: Outcome) -> bool:
    """Whether the outcome of the jobs before it is one that the job runs after."""
    if job.plan.when == "always":
        return before is not Outcome.OPEN
    if job.plan.when == "on_failure":
        return before is Outcome.FAILED
    if job.plan.needs is not None:
        return before is Outcome.SUCCESS
    return before in (Outcome.SUCCESS, Outcome.SKIPPED)


def is_doomed(job: JobState, index: RunIndex) -> bool:
    """Whether the job will be skipped, although jobs that it needs have not ended."""
    if job.plan.needs is None or job.plan.when in ("always", "on_failure"):
        return False
    return any(not is_open(need) and part_of(need) is not Part.WELL for need in index.needs_of(job))


def why_skipped(job: JobState, index: RunIndex) -> str:
    """Why a job that is not asked for is skipped."""
    if job.plan.when == "on_failure":
        return "nothing before it failed (when: on_failure)"
    if job.plan.needs is not None:
        bad = [need for need in index.needs_of(job) if part_of(need) not in (Part.WELL, Part.OPEN)]
        return "it needs " + ", ".join(f"{need.plan.name} ({need.status.value})" for need in bad[:NAMES_SHOWN])
    earlier = [j for stage in index.run.stages[: job.stage_index] for j in stage.jobs]
    bad = [j for j in earlier if part_of(j) in (Part.FAILED, Part.CANCELED)]
    return "an earlier stage did not succeed: " + names(bad)


def refused_trigger(job: JobState, run: RunState) -> tuple[FailureReason, str] | None:
    """Why a job of this run may not start another run, if so."""
    trigger = job.plan.trigger
    if trigger is None:
        return None
    if trigger.project:
        if trigger.project != run.plan.project:
            return None
        text = f"{trigger.project} is the project of this run: start a child pipeline of it with `trigger:include`"
        return FailureReason.INVALID_BRIDGE_TRIGGER, text
    if run.parent is None or run.parent.level < MOST_LEVELS:
        return None
    text = f"child pipelines can be {MOST_LEVELS} levels deep; this run is at level {MOST_LEVELS}"
    return FailureReason.REACHED_MAX_DESCENDANT_PIPELINES_DEPTH, text


def names(jobs: list[JobState]) -> str:
    """The first few jobs by name, the rest as a count."""
    shown = ", ".join(job.plan.name for job in jobs[:NAMES_SHOWN])
    return shown + (f" and {len(jobs) - NAMES_SHOWN} more" if len(jobs) > NAMES_SHOWN else "")
