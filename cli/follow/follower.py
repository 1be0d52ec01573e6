"""Follows a run to its end: every byte of its jobs' logs, in order, and every status change. Prints nothing.

The feed announces changes at once; anything it may have lost (late subscription, full queue, new coordinator) is
fetched by byte offset from the stored log, or from a snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from cli.session.progressing import waits_for_user
from cli.session.session import Session
from protocol.errors import CoordinatorUnreachable
from protocol.events import AnyEvent, JobChanged, LogAppended, RunChanged, log_topic
from protocol.feed_position import FeedPosition, Verdict
from protocol.feed_subscription import Feed
from protocol.log_times import LogPiece, decode, marks_of_pages
from protocol.names import CHUNK_BYTES
from protocol.statuses import ENDED, ExecutionStatus
from protocol.views import JobView, RunSummary, RunView

POLL_SECONDS = 0.25
"""Timeout of one wait for an event; due work is done between waits."""
SETTLE_SECONDS = (0.0, 0.3)
"""Delays between subscribing to a log's topic and fetching the log: a subscription takes time to become effective."""
LATE_SECONDS = 1.5
SILENCE_SECONDS = 4.0
"""The feed sends a heartbeat every second. If late, the session is checked; after SILENCE, the coordinator is asked."""
STOPPED = ENDED | {ExecutionStatus.MANUAL}
"""A run in one of these statuses makes no progress by itself."""


class Listener(Protocol):
    """Callbacks for a run's progress."""

    def job_log(self, job: JobView, piece: LogPiece) -> None:
        """The next bytes of a job's log; with their times, if the follower asks for them."""

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        """A job has changed; when it has ended, its complete log was delivered before."""

    def run_changed(self, run: RunSummary) -> None:
        """The run has changed."""

    def time_passes(self) -> None:
        """Called a few times a second, regardless of events."""

    def connection(self, lost: bool) -> None:
        """The coordinator stopped answering, or answers again."""


@dataclass(slots=True)
class _Followed:
    """A followed attempt: the bytes delivered so far, and the times at which to fetch missed ones."""

    run: int
    job: JobView
    offset: int = 0
    complete: bool = False
    due: list[float] = field(default_factory=list)


class Follower:
    """Follows a run, or `only` its job of that name; without `logs`, only statuses; with the `times` of the logs.

    `starts` are the offsets from which logs are wanted, by attempt; others are wanted from their beginning.

    With `children`, it follows the runs that the run's jobs start too, to their ends; the listener knows a job of
    theirs as `TRIGGER/JOB`.
    """

    def __init__(
        self,
        session: Session,
        run: int,
        listener: Listener,
        *,
        only: str | None = None,
        logs: bool = True,
        times: bool = False,
        starts: Mapping[str, int] | None = None,
        children: bool = False,
    ) -> None:
        self._session = session
        self._run = run
        self._listener = listener
        self._only = only
        self._with_logs = logs
        self._with_times = times
        self._starts = starts or {}
        self._with_children = children
        self._jobs: dict[tuple[int, str], JobView] = {}
        self._prefixes = {run: ""}  # of all followed runs, by id
        self._statuses: dict[int, ExecutionStatus] = {}
        self.children: dict[int, RunView] = {}  # the child runs, by id
        self._logs: dict[str, _Followed] = {}
        self._view: RunView | None = None  # as of the last snapshot
        self._position = FeedPosition()
        self._ended = False

    def follow(self, stopped: Callable[[], bool] = lambda: False) -> RunView | None:
        """Returns the run when it (or the one job) has ended or waits for a manual job.

        Returns None soon after `stopped` does; following can then be resumed. Raises CoordinatorUnreachable when the
        coordinator stays away.
        """
        while not (self._ended or stopped()):
            try:
                self._follow_connected(stopped)
            except CoordinatorUnreachable:
                self._listener.connection(lost=True)
                self._session.again()
                self._listener.connection(lost=False)
        return self._view if self._ended else None

    def _follow_connected(self, stopped: Callable[[], bool]) -> None:
        """Follows until the end, `stopped`, or a silent feed of a coordinator that answers (it restarted)."""
        self._session.check()
        self._session.client.get_run(self._run)  # updates the feed's address to the current coordinator's
        feed = self._session.client.feed()
        try:
            for attempt in self._logs:
                feed.subscribe(log_topic(attempt))
            self._resynchronize(feed)
            heard = time.monotonic()
            while not (self._ended or stopped()):
                item = feed.receive(POLL_SECONDS)
                now = time.monotonic()
                if item is not None:
                    heard = now
                    self._take(feed, *item)
                elif now - heard > SILENCE_SECONDS:
                    return
                elif now - heard > LATE_SECONDS:
                    self._session.check()
                self._fetch_due(now)
                self._listener.time_passes()
            if self._ended:
                self._resynchronize(feed)  # the run's end may be announced before its last job's, and its child's start
        finally:
            feed.close()

    def _resynchronize(self, feed: Feed) -> None:
        snapshot = self._session.client.snapshot(runs=0, run=self._run)
        self._position.restart(snapshot.epoch, snapshot.seq)
        children = [run for run in self._prefixes if run != self._run]
        self._view = snapshot.run or self._session.client.get_run(self._run)
        self._take_view(feed, self._view)
        for run in children:
            self._take_child(feed, run)
        for followed in self._logs.values():
            if not followed.complete:
                followed.due = [0.0]

    def _take_child(self, feed: Feed, run: int) -> None:
        self.children[run] = self._session.client.get_run(run)
        self._take_view(feed, self.children[run])

    def _take_view(self, feed: Feed, run: RunView) -> None:
        for stage in run.stages:
            for job in stage.jobs:
                self._take_job(feed, run.id, job)
        self._take_run(run)

    def _take(self, feed: Feed, event: AnyEvent, payload: bytes | memoryview) -> None:
        if isinstance(event, LogAppended):
            self._take_log(event, payload)
            return
        verdict = self._position.place(event)
        if verdict is Verdict.GAP:
            self._resynchronize(feed)
        elif verdict is Verdict.APPLIED:
            if isinstance(event, JobChanged) and event.run in self._prefixes:
                self._take_job(feed, event.run, event.job)
            elif isinstance(event, RunChanged) and event.run.id in self._prefixes:
                self._take_run(event.run)

    def _take_run(self, run: RunSummary) -> None:
        if run.id == self._run:
            self._listener.run_changed(run)
        self._statuses[run.id] = run.status
        self._check_end()

    def _check_end(self) -> None:
        if self._only is None:
            self._ended = all(self._has_stopped(each) or self._is_left_alone(each) for each in self._prefixes)

    def _has_stopped(self, run: int) -> bool:
        """Whether a run makes no progress by itself: it has ended, or waits for a user, perhaps in a child run."""
        return self._statuses.get(run) in STOPPED or waits_for_user(run, self._statuses, self._jobs_of)

    def _is_left_alone(self, run: int) -> bool:
        """Whether a run of another project, or one below it, goes on although the followed run was canceled."""
        if self._statuses.get(self._run) is not ExecutionStatus.CANCELED:
            return False
        while (view := self.children.get(run)) is not None and view.parent is not None:
            if view.parent.project:
                return True
            run = view.parent.run
        return False

    def _jobs_of(self, run: int) -> list[JobView]:
        return [job for (id, _), job in self._jobs.items() if id == run]

    def _take_job(self, feed: Feed, run: int, job: JobView) -> None:
        if self._only not in (None, job.name):
            return
        before = self._jobs.get((run, job.name))
        shown = msgspec.structs.replace(job, name=f"{self._prefixes[run]}{job.name}")
        if before == shown or (run != self._run and before is not None and _is_outdated(job, before)):
            return
        self._jobs[run, job.name] = shown
        if run in self.children:
            self.children[run] = with_job(self.children[run], job)
        if self._with_logs and job.attempt_id is not None and job.attempt_id not in self._logs:
            feed.subscribe(log_topic(job.attempt_id))
            now = time.monotonic()
            self._logs[job.attempt_id] = _Followed(
                run, shown, self._starts.get(job.attempt_id, 0), due=[now + wait for wait in SETTLE_SECONDS]
            )
        if self._with_logs and job.status in ENDED and job.attempt_id is not None:
            self._fetch(self._logs[job.attempt_id], job.attempt_id)
            feed.unsubscribe(log_topic(job.attempt_id))
        self._listener.job_changed(before, shown)
        if self._only is not None and job.status in STOPPED:
            self._ended = True
        for child in job.child_runs[-1:] if self._with_children else ():
            if child not in self._prefixes:
                self._prefixes[child] = f"{shown.name}/"
                self._take_child(feed, child)
        if job.status is ExecutionStatus.MANUAL or job.child_runs:
            self._check_end()

    def _take_log(self, event: LogAppended, payload: bytes | memoryview) -> None:
        followed = self._logs.get(event.attempt)
        if followed is None or followed.complete or event.stream != "job":
            return
        if event.offset > followed.offset:
            self._fetch(followed, event.attempt)
        elif event.offset + len(payload) > followed.offset:
            marks = decode(event.times, event.offset, len(payload)) if self._with_times else []
            self._deliver(followed, LogPiece(event.offset, payload, marks).since(followed.offset))

    def _fetch_due(self, now: float) -> None:
        for attempt, followed in self._logs.items():
            if followed.due and followed.due[0] <= now:
                followed.due = [due for due in followed.due if due > now]
                self._fetch(followed, attempt)

    def _fetch(self, followed: _Followed, attempt: str) -> None:
        """Delivers the rest of a stored log, from the current offset."""
        number = int(attempt.rpartition(".")[2])
        name = followed.job.name.removeprefix(self._prefixes[followed.run])
        while not followed.complete:
            found, data = self._session.client.get_log(
                followed.run, name, number, offset=followed.offset, length=CHUNK_BYTES, times=self._with_times
            )
            if data:
                self._deliver(followed, LogPiece(followed.offset, data, marks_of_pages(found.times)))
            if followed.offset >= found.size:
                followed.complete = found.complete
                return

    def _deliver(self, followed: _Followed, piece: LogPiece) -> None:
        followed.offset = piece.end
        self._listener.job_log(followed.job, piece)


def with_job(run: RunView, job: JobView) -> RunView:
    """The run with a job as it is now."""
    stages = [
        msgspec.structs.replace(stage, jobs=[job if job.name == each.name else each for each in stage.jobs])
        for stage in run.stages
    ]
    return msgspec.structs.replace(run, stages=stages)


def _is_outdated(job: JobView, known: JobView) -> bool:
    """Whether an event tells of a time before the view that we have of a child run, which no event precedes."""
    if job.attempt != known.attempt:
        return job.attempt < known.attempt
    return known.status in ENDED and job.status not in ENDED and job.status is not ExecutionStatus.CREATED
