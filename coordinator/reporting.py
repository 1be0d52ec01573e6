"""Decides what to tell others about runs: commit statuses, and whether a branch broke or was fixed. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator

import msgspec

from coordinator.engine.state import JobState, RunState
from protocol.deliveries import CONTEXT, ChannelSpec, CommitStatus, Event, RunMessage
from protocol.projects import STATUS_FORGES, Forge
from protocol.statuses import ExecutionStatus as S

DAY = 24 * 3600.0
"""Seconds after which a branch that is still broken is told again."""
NAMED_JOBS = 20
"""Failed jobs that a message names."""
LONGEST_DESCRIPTION = 140
"""Maximum characters of a description, by GitHub's bound."""
MERGE_REQUEST = "merge_request_event"
WORDS = {
    S.CREATED: "created",
    S.PENDING: "waits for a worker",
    S.MANUAL: "waits for a manual action",
    S.SCHEDULED: "waits for its delay",
    S.WAITING: "waits for its needs",
    S.PREPARING: "prepares",
    S.RUNNING: "runs",
    S.SUCCESS: "passed",
    S.FAILED: "failed",
    S.CANCELED: "was canceled",
    S.SKIPPED: "was skipped",
}


class BranchResult(msgspec.Struct, frozen=True):
    """The last result of a branch, by its newest run that succeeded or failed.

    `told_at` is when it was last told to be broken, in seconds since the epoch.
    """

    run: int
    broken: bool
    told_at: float


def takes_statuses(forge: Forge | None) -> bool:
    """Whether commit statuses go to this forge: one that has them, with a token."""
    return forge is not None and forge.kind in STATUS_FORGES and forge.token != ""


def statuses(run: RunState, jobs: Iterable[JobState], *, per_job: bool) -> Iterator[CommitStatus]:
    """The commit statuses of a triggered run and, with `per_job`, of its changed jobs."""
    source = run.source
    if not source.sha:
        return
    seconds = _seconds(run)
    took = "" if seconds is None else f" after {_duration(seconds)}"
    yield CommitStatus(
        project=run.plan.project,
        sha=source.sha,
        context=_context(run, ""),
        status=run.status,
        ref=source.ref,
        run=run.id,
        description=f"run {run.id} {WORDS[run.status]}{took}"[:LONGEST_DESCRIPTION],
    )
    for job in jobs if per_job else ():
        yield CommitStatus(
            project=run.plan.project,
            sha=source.sha,
            context=_context(run, job.plan.name),
            status=S.SUCCESS if job.status is S.FAILED and job.allowed_to_fail else job.status,
            ref=source.ref,
            run=run.id,
            description=f"job {job.plan.name} {WORDS[job.status]}"[:LONGEST_DESCRIPTION],
        )


def _context(run: RunState, job: str) -> str:
    """Runs of a commit by a push and by a merge request have contexts of their own, as either may fail."""
    event = "merge-request" if run.source.event == MERGE_REQUEST else run.source.event or "push"
    return "/".join(filter(None, [CONTEXT, event, job]))


def refused_status(project: str, sha: str, ref: str, event: str, reason: str) -> CommitStatus:
    """The status of a commit whose trigger has started no run, such as for an invalid pipeline file."""
    event = "merge-request" if event == MERGE_REQUEST else event
    return CommitStatus(
        project=project,
        sha=sha,
        context=f"{CONTEXT}/{event}",
        status=S.FAILED,
        ref=ref,
        description=reason.partition("\n")[0][:LONGEST_DESCRIPTION],
    )


def branch_of(run: RunState) -> str:
    """The name under which a run's results are compared; those of merge requests are apart from their branch's."""
    prefix = "merge request " if run.source.event == MERGE_REQUEST else ""
    fork = "from a fork " if run.source.fork else ""
    return f"{prefix}{fork}{run.source.ref}"


def change(before: BranchResult | None, run: int, status: S, now: float) -> tuple[BranchResult | None, Event | None]:
    """The result of a branch after the end of a run, and what has changed by it, if that is to be told.

    Only the newest run counts, whichever ends last; a canceled or skipped one says nothing.
    """
    if status not in (S.SUCCESS, S.FAILED) or (before is not None and run < before.run):
        return before, None
    was_broken = before is not None and before.broken
    told_at = before.told_at if before is not None else 0.0
    if status is S.SUCCESS:
        return BranchResult(run, False, told_at), "fixed" if was_broken else None
    if was_broken and 0 <= now - told_at < DAY:
        return BranchResult(run, True, told_at), None
    return BranchResult(run, True, now), "still broken" if was_broken else "broken"


def is_told(channel: ChannelSpec, run: RunState, changed: Event | None) -> bool:
    """Whether a channel is told of the end of a run."""
    if channel.branches:
        matches = (fnmatch.fnmatchcase(run.source.ref, pattern) for pattern in channel.branches)
        if run.source.event == MERGE_REQUEST or run.source.fork or not any(matches):
            return False
    if channel.on == "change":
        return changed is not None
    return channel.on == "always" or run.status is S.FAILED


def message(run: RunState, changed: Event | None) -> RunMessage:
    """The message about a run that has ended."""
    jobs = (job for stage in run.stages for job in stage.jobs)
    failed = [job.plan.name for job in jobs if job.status is S.FAILED and not job.allowed_to_fail]
    return RunMessage(
        event=changed or run.status.value,  # type: ignore[arg-type]  # the status is a final one
        project=run.plan.project,
        run=run.id,
        status=run.status,
        ref=run.source.ref,
        sha=run.source.sha,
        title=run.source.title,
        user=run.source.user,
        source=run.source.event,
        failed_jobs=failed[:NAMED_JOBS],
        finished_at=run.finished_at or 0.0,
        seconds=_seconds(run),
    )


def _seconds(run: RunState) -> float | None:
    if run.started_at is None or run.finished_at is None:
        return None
    return max(0.0, run.finished_at - run.started_at)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
