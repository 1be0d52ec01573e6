"""The dashboard's model of a coordinator: a snapshot plus numbered events. Pure: no sockets, no clock.

The Clone pattern's client half. Every event carries the coordinator's epoch and a sequence number; the model applies
them in order, reports a gap, and then receives a new snapshot. Early events are kept, so that an older snapshot catches
up at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from protocol.events import (
    AnyEvent,
    Beacon,
    JobChanged,
    LogAppended,
    RunChanged,
    RunRemoved,
    StageChanged,
    WorkerChanged,
)
from protocol.feed_position import FeedPosition, Verdict
from protocol.messages import Snapshot
from protocol.statuses import ENDED, WorkerStatus
from protocol.views import JobView, RunSummary, RunView, StageView, WorkerView

RECENT_EVENTS = 4096
"""Maximum lag, in events, of a usable snapshot."""
SNAPSHOT_RUNS = 1000
"""Newest runs requested with a snapshot; one with fewer is complete."""
TOLERATED_SKEW = 1.5
"""Seconds of clock difference to tolerate: a heartbeat may be late by part of that."""
JOURNAL_LENGTH = 1000
"""Events shown by the Feed screen."""
MOST_REMEMBERED = 20_000
"""Entities whose last journal entry is remembered."""


class ConnectionState(Enum):
    """State of the connection to the coordinator."""

    CONNECTING = "connecting"
    ONLINE = "online"
    RECONNECTING = "reconnecting"
    REFUSED = "refused"


@dataclass(slots=True)
class StageDetail:
    """A stage of the watched run; `jobs` in plan order."""

    view: StageView
    jobs: dict[str, JobView] = field(default_factory=dict)


@dataclass(slots=True)
class RunDetail:
    """The watched run in full, as of event `seq`."""

    run: int
    seq: int
    stages: dict[str, StageDetail]
    expected: dict[str, float] = field(default_factory=dict)  # expected seconds of a job, by name

    def job(self, name: str) -> JobView | None:
        """The job of this name, if the run has it."""
        for stage in self.stages.values():
            if (job := stage.jobs.get(name)) is not None:
                return job
        return None

    def stage_of(self, name: str) -> str:
        """The stage of a job, or an empty string."""
        return next((stage for stage, detail in self.stages.items() if name in detail.jobs), "")

    def jobs(self) -> list[JobView]:
        """All jobs, stage by stage."""
        return [job for stage in self.stages.values() for job in stage.jobs.values()]


@dataclass(frozen=True, slots=True)
class EventLogEntry:
    """An entry of the Feed screen: an event, or a note from the dashboard itself."""

    at: float
    seq: int
    event: AnyEvent | None = None
    note: str = ""


def detail_of(run: RunView, seq: int) -> RunDetail:
    """The run's stages and jobs, ready for events after `seq`."""
    stages = {stage.name: StageDetail(view=stage, jobs={job.name: job for job in stage.jobs}) for stage in run.stages}
    return RunDetail(run=run.id, seq=seq, stages=stages)


class Model:
    """The state behind all screens. Owned by the application's loop exclusively.

    `version` increases with every change, so that a screen can detect that it is outdated.
    """

    def __init__(self) -> None:
        self.connection = ConnectionState.CONNECTING
        self.problem = ""  # the coordinator's reason for rejecting us, if it does
        self._position = FeedPosition()
        self.runs: dict[int, RunSummary] = {}
        self.workers: dict[str, WorkerView] = {}
        self.detail: RunDetail | None = None
        self.journal: deque[EventLogEntry] = deque(maxlen=JOURNAL_LENGTH)
        self.skew = 0.0  # seconds by which the coordinator's clock is ahead of ours
        self.version = 0
        self.runs_version = 0  # increases when the list of runs changes
        self._noted: dict[object, object] = {}  # last journal entry of each run, stage, job and worker
        self._recent: deque[AnyEvent] = deque(maxlen=RECENT_EVENTS)
        self._newest_first: list[RunSummary] | None = None

    # read by screens

    @property
    def epoch(self) -> str:
        """The coordinator's epoch; "" before the first snapshot."""
        return self._position.epoch

    @property
    def seq(self) -> int:
        """Number of the newest applied event."""
        return self._position.seq

    def newest_first(self) -> list[RunSummary]:
        """The known runs, newest first."""
        if self._newest_first is None:
            self._newest_first = [self.runs[run] for run in sorted(self.runs, reverse=True)]
        return self._newest_first

    def is_offline(self, worker: str | None) -> bool:
        """Whether a worker is known and has not been heard of for a while."""
        view = self.workers.get(worker) if worker is not None else None
        return view is not None and view.status is WorkerStatus.OFFLINE

    def active_runs(self) -> int:
        """Number of known runs that have not ended."""
        return sum(run.status not in ENDED for run in self.runs.values())

    # written by the feed client

    def set_connection(self, connection: ConnectionState, at: float, note: str) -> None:
        """Records a change of the connection."""
        self.connection = connection
        self.problem = note if connection is ConnectionState.REFUSED else ""
        self.note(note, at)

    def note(self, text: str, at: float) -> None:
        """Adds a note from the dashboard to the journal."""
        self.journal.append(EventLogEntry(at=at, seq=self.seq, note=text))
        self.version += 1

    def load_snapshot(self, snapshot: Snapshot, at: float) -> Verdict:
        """Applies a snapshot and the events received after it. GAP: it was already too old, request another one.

        Older runs loaded by paging are kept, unless the snapshot is complete.
        """
        if snapshot.epoch != self.epoch:
            self._recent = deque((e for e in self._recent if e.epoch == snapshot.epoch), maxlen=RECENT_EVENTS)
        self._position.restart(snapshot.epoch, snapshot.seq)
        oldest = min(run.id for run in snapshot.runs) if len(snapshot.runs) >= SNAPSHOT_RUNS else 0
        self.runs = {run: view for run, view in self.runs.items() if run < oldest}
        self.runs.update((run.id, run) for run in snapshot.runs)
        self.workers = {worker.name: worker for worker in snapshot.workers}
        if snapshot.run is not None:
            self._take_detail(detail_of(snapshot.run, snapshot.seq))
        self._touch_runs()
        for event in list(self._recent):
            if self._place(event) is Verdict.GAP:
                return Verdict.GAP
        return Verdict.APPLIED

    def load_detail(self, snapshot: Snapshot) -> Verdict:
        """Applies only a snapshot's detailed run. GAP: load a whole snapshot."""
        if snapshot.run is None or snapshot.epoch != self.epoch:
            return Verdict.GAP
        oldest_kept = self._recent[0].seq if self._recent else self.seq + 1
        if snapshot.seq < self.seq and snapshot.seq + 1 < oldest_kept:
            return Verdict.GAP
        self._take_detail(detail_of(snapshot.run, snapshot.seq))
        for event in self._recent:
            if event.epoch == self.epoch and snapshot.seq < event.seq <= self.seq:
                self._apply_to_detail(event)
        self.version += 1
        return Verdict.APPLIED

    def drop_detail(self) -> None:
        """Drops the watched run."""
        self.detail = None
        self.version += 1

    def add_older_runs(self, runs: list[RunSummary]) -> None:
        """Adds runs older than the snapshot, as returned by ListRuns."""
        for run in runs:
            self.runs.setdefault(run.id, run)
        self._touch_runs()

    def apply(self, event: AnyEvent, at: float) -> Verdict:
        """Applies one event of the feed. GAP: it, or one before it, requires a new snapshot."""
        if isinstance(event, LogAppended):
            return Verdict.OLD
        if isinstance(event, Beacon):
            ahead = event.at - at if event.at else 0.0
            self.skew = ahead if abs(ahead) > TOLERATED_SKEW else 0.0
            return self._position.place(event)
        self._recent.append(event)
        verdict = self._place(event)
        if verdict is not Verdict.OLD and self._is_news(event):
            self.journal.append(EventLogEntry(at=at, seq=event.seq, event=event))
        return verdict

    def _is_news(self, event: AnyEvent) -> bool:
        """Whether an event is new to the journal; counts of jobs and slots change all the time."""
        about: object
        said: object
        match event:
            case RunChanged(run=run):
                about, said = (run.id,), (run.status, run.warnings)
            case StageChanged(run=number, stage=stage):
                about, said = (number, stage.name), stage.status
            case JobChanged(run=number, stage=name, job=job):
                about, said = (number, name, job.name), (job.status, job.attempt, job.worker, job.pending_reason)
            case WorkerChanged(worker=worker):
                about, said = worker.name, worker.status
            case _:
                return True
        if self._noted.get(about) == said:
            return False
        if len(self._noted) >= MOST_REMEMBERED:
            self._noted.clear()
        self._noted[about] = said
        return True

    # state changes

    def _place(self, event: AnyEvent) -> Verdict:
        verdict = self._position.place(event)
        if verdict is Verdict.APPLIED:
            self._apply(event)
        return verdict

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case RunChanged(run=run):
                self.runs[run.id] = run
                self._touch_runs()
            case RunRemoved(run=number):
                self.runs.pop(number, None)
                self._touch_runs()
            case WorkerChanged(worker=worker):
                self.workers[worker.name] = worker
            case _:
                self._apply_to_detail(event)
        self.version += 1

    def _apply_to_detail(self, event: AnyEvent) -> None:
        detail = self.detail
        if detail is None or event.seq <= detail.seq:
            return
        match event:
            case StageChanged(run=detail.run, stage=view):
                stage = detail.stages.setdefault(view.name, StageDetail(view=view))
                stage.view = view
            case JobChanged(run=detail.run, stage=name, job=job):
                empty = StageView(name=name, status=job.status)
                detail.stages.setdefault(name, StageDetail(view=empty)).jobs[job.name] = job

    def _take_detail(self, detail: RunDetail) -> None:
        if self.detail is not None and self.detail.run == detail.run:
            detail.expected = self.detail.expected
        self.detail = detail

    def _touch_runs(self) -> None:
        self._newest_first = None
        self.runs_version += 1
        self.version += 1
