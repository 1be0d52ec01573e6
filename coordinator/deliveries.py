"""The outbox: what others are to be told of runs, durable with the turn that it is about. Knows no network.

The launcher takes what is due and delivers it, at least once; see docs/decisions/0042-outbox.md.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping
from typing import cast

import msgspec

from coordinator import reporting
from coordinator.channels import Channels
from coordinator.engine.effects import Turn
from coordinator.engine.state import JobState, Now, RunState
from coordinator.projects import Projects
from coordinator.reporting import BranchResult
from coordinator.store.columns import as_json, load, text
from coordinator.store.models import BranchOutcome, Delivery
from coordinator.store.store import Store
from protocol import messages as m
from protocol.deliveries import CommitStatus, DeliveryState, DeliveryView, PendingDelivery, RunMessage
from protocol.errors import ProtocolError
from protocol.projects import ProjectSpec, TriggerSpec
from protocol.statuses import ENDED

log = logging.getLogger(__name__)

MOST_PENDING = 100_000
"""Deliveries that may wait; further messages are dropped, but no statuses."""
MOST_IN_ANSWER = 1000
LONGEST_ERROR = 1000
PATIENCE = 3 * 24 * 3600.0
"""Seconds for which a delivery is tried."""
KEPT = 24 * 3600.0
"""Seconds for which a delivery is kept after its end, for users to look at."""


class Entry(msgspec.Struct):
    """One row of `Delivery`."""

    key: str
    seq: int
    project: str
    lane: str
    content_json: str
    state: DeliveryState = "pending"
    attempts: int = 0
    not_before: float = 0.0
    error: str = ""
    created_at: float = 0.0
    changed_at: float = 0.0


class Deliveries:
    """What the coordinator tells others. Raises ProtocolError for refused requests."""

    def __init__(self, store: Store, projects: Projects, channels: Channels, web_url: str) -> None:
        self._store = store
        self._projects = projects
        self._channels = channels
        self._web_url = web_url.rstrip("/")
        self._pending: dict[str, Entry] = {}  # by key, the oldest version first
        self._statuses: dict[str, CommitStatus] = {}  # the newest of each context that is still in the database
        for row in store.all(Delivery.select().order_by(Delivery.seq)):
            entry = Entry(*row)
            try:
                content = _content(entry)
            except ValueError as error:
                log.error("ignoring delivery %r: its row in the database is invalid (%s)", entry.key, error)
                continue
            if entry.state == "pending":
                self._pending[entry.key] = entry
            if isinstance(content, CommitStatus):
                self._statuses[entry.key] = content
        self._results: dict[tuple[str, str], BranchResult] = {
            (project, branch): BranchResult(run, bool(broken), told)
            for _, project, branch, run, broken, told in store.all(BranchOutcome.select())
        }
        self._seq = max(store.highest(Delivery.seq), 0)

    # with the turn

    def record(self, turn: Turn, unfinished: Mapping[int, RunState], now: Now) -> None:
        """Queues what others are to be told of a turn, to be written with it. Call before the turn is written."""
        if not self._projects or not (turn.runs or turn.jobs):
            return
        runs = {run.id: run for run in turn.runs}
        jobs: dict[int, list[JobState]] = {}
        for job in turn.jobs:
            jobs.setdefault(job.run_id, []).append(job)
            if job.run_id in unfinished:
                runs.setdefault(job.run_id, unfinished[job.run_id])
        for run in runs.values():
            project = self._project_of(run)
            if project is None:
                continue
            if reporting.takes_statuses(project.forge):
                per_job = project.forge is not None and project.forge.per_job
                for status in reporting.statuses(run, jobs.get(run.id, ()), per_job=per_job):
                    self._put_status(status, now)
            if run.status in ENDED:
                self._tell(run, now)

    def refused(self, trigger: TriggerSpec, reason: str, now: Now) -> None:
        """Queues the status of a commit whose trigger has started no run."""
        project = self._projects.find(trigger.project)
        if project is not None and trigger.sha and reporting.takes_statuses(project.forge):
            status = reporting.refused_status(trigger.project, trigger.sha, trigger.ref, trigger.source, reason)
            self._put_status(status, now)

    def _project_of(self, run: RunState) -> ProjectSpec | None:
        if run.source.trigger is None:
            return None
        return self._projects.find(run.plan.project)

    def _put_status(self, status: CommitStatus, now: Now) -> None:
        key = _digest("status", status.project, status.sha, status.context)
        before = self._statuses.get(key)
        if before is not None:
            older_run = (status.run or 0) < (before.run or 0)
            same = (status.status, status.run) == (before.status, before.run)
            if same or older_run:
                return
        self._statuses[key] = status
        self._put(key, status.project, f"forge {status.project}", as_json(status), now)

    def _tell(self, run: RunState, now: Now) -> None:
        project, branch = run.plan.project, reporting.branch_of(run)
        before = self._results.get((project, branch))
        result, changed = reporting.change(before, run.id, run.status, now.wall)
        if result is not None and result != before:
            self._results[project, branch] = result
            key = _digest("branch", project, branch)
            row = (key, project, text(branch), result.run, result.broken, result.told_at)
            self._store.queue(BranchOutcome, row)
        content = None
        for id, channel in self._channels.of(project):
            if reporting.is_told(channel, run, changed):
                content = content or as_json(reporting.message(run, changed))
                key = f"message {id} {run.id} {run.finished_at}"
                if key not in self._pending and len(self._pending) >= MOST_PENDING:
                    log.error("%d deliveries wait; dropping the message about run %d", MOST_PENDING, run.id)
                    return
                self._put(key, project, f"channel {id}", content, now)

    def _put(self, key: str, project: str, lane: str, content: str, now: Now) -> None:
        self._seq += 1
        entry = Entry(key, self._seq, project, lane, text(content), created_at=now.wall, changed_at=now.wall)
        self._pending.pop(key, None)  # the newest version is the last
        self._pending[key] = entry
        self._queue(entry)

    def _queue(self, entry: Entry) -> None:
        self._store.queue(Delivery, msgspec.structs.astuple(entry))

    # the launcher

    def take(self, message: m.TakeDeliveries, *, durable: bool) -> m.PendingDeliveries:
        """What is due now, the oldest first; of a channel nothing behind a message that is to be tried again later.

        Nothing while the database is behind (not `durable`): nobody is told what may yet be lost.
        """
        now = time.time()
        found: list[PendingDelivery] = []
        held: set[str] = set()
        for entry in self._pending.values() if durable else ():
            if len(found) >= min(max(message.limit, 1), MOST_IN_ANSWER):
                break
            if _is_message(entry) and entry.lane in held:
                continue
            if entry.not_before <= now:
                found.append(self._due(entry))
            else:
                held.add(entry.lane)
        return m.PendingDeliveries(id=message.id, web_url=self._web_url, deliveries=found)

    def _due(self, entry: Entry) -> PendingDelivery:
        content = _content(entry)
        return PendingDelivery(
            key=entry.key,
            seq=entry.seq,
            lane=entry.lane,
            attempts=entry.attempts,
            created_at=entry.created_at,
            status=content if isinstance(content, CommitStatus) else None,
            message=content if isinstance(content, RunMessage) else None,
            channel=self._channels.open(_channel_of(entry)) if _is_message(entry) else None,
        )

    def settle(self, message: m.SettleDelivery, now: Now) -> m.Done:
        """Ends an attempt at a delivery. The reply holds after the turn's commit."""
        if not math.isfinite(message.not_before):
            raise ProtocolError("bad_field", "a time is a finite number")
        entry = self._pending.get(message.key)
        if entry is None or entry.seq != message.seq:
            return m.Done(id=message.id, count=0)
        state, error = message.state, text(message.error[:LONGEST_ERROR])
        if state == "pending" and now.wall - entry.created_at > PATIENCE:
            state = "failed"
        if state == "failed":
            log.warning("giving up a delivery of project %s to %s: %s", entry.project, entry.lane, error)
        entry.state, entry.error, entry.changed_at = state, error, now.wall
        entry.attempts += state != "delivered"
        entry.not_before = message.not_before if state == "pending" else 0.0
        if state != "pending":
            del self._pending[entry.key]
        self._queue(entry)
        return m.Done(id=message.id, count=1)

    # upkeep

    def prune(self, now: Now) -> None:
        """Forgets what was delivered long ago."""
        old = (Delivery.state != "pending") & (Delivery.changed_at < now.wall - KEPT)
        for key in self._store.prune(Delivery, Delivery.key, old):
            if key not in self._pending:
                self._statuses.pop(cast("str", key), None)

    def channel_removed(self, channel: int, now: Now) -> None:
        """Drops what a channel has not got yet."""
        lane = f"channel {channel}"
        for entry in [entry for entry in self._pending.values() if entry.lane == lane]:
            entry.state, entry.error, entry.changed_at = "failed", "the channel was removed", now.wall
            del self._pending[entry.key]
            self._queue(entry)

    # for readers, after the commit

    def list_deliveries(self, message: m.ListDeliveries) -> m.DeliveryList:
        """The newest deliveries, pending and not."""
        query = Delivery.select().order_by(Delivery.seq.desc()).limit(min(max(message.limit, 0), MOST_IN_ANSWER))
        if message.project is not None:
            query = query.where(Delivery.project == message.project)
        return m.DeliveryList(id=message.id, deliveries=[self._view(Entry(*row)) for row in self._store.all(query)])

    def _view(self, entry: Entry) -> DeliveryView:
        try:
            content = _content(entry)
        except ValueError:
            to, about = "", "invalid"
        else:
            if isinstance(content, RunMessage):
                to, about = self._channels.address(_channel_of(entry)), f"run {content.run} {content.event}"
            else:
                to, about = f"{content.context} of {content.sha[:8]}", content.status.value
        return DeliveryView(
            project=entry.project,
            to=to,
            about=about,
            state=entry.state,
            attempts=entry.attempts,
            not_before=entry.not_before,
            error=entry.error,
            changed_at=entry.changed_at,
        )


def _is_message(entry: Entry) -> bool:
    return entry.lane.startswith("channel ")


def _content(entry: Entry) -> CommitStatus | RunMessage:
    """What is to be told. Raises ValueError for an invalid row."""
    if _is_message(entry):
        _channel_of(entry)
        return load(RunMessage, entry.content_json)
    return load(CommitStatus, entry.content_json)


def _channel_of(entry: Entry) -> int:
    return int(entry.lane.removeprefix("channel "))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
