"""Events of the coordinator's feed: numbered state events, and log bytes as they are stored.

Frames: `[topic, msgpack map]` for state, `[topic, msgpack map, payload]` for log bytes. State events have topic
`STATE_TOPIC`, and each increments `seq`, even within one frame; after a gap or with a new `epoch`, request a new
snapshot (`protocol.feed_position`). Log events have one topic per attempt and no number: their byte offsets reveal
gaps.
"""

from __future__ import annotations

import msgspec

from protocol.views import JobView, RunSummary, StageView, WorkerView

STATE_TOPIC = b"state"


def log_topic(attempt: str) -> bytes:
    """The topic of an attempt's log bytes; the trailing space keeps `1.1` from matching `1.10`."""
    return b"log " + attempt.encode() + b" "


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """Base of all events; the feed sets `epoch` and `seq` on publishing."""

    epoch: str = ""
    seq: int = 0


class RunChanged(Event, frozen=True, kw_only=True, tag="run_changed"):
    """A run is new, or its summary has changed."""

    run: RunSummary


class RunRemoved(Event, frozen=True, kw_only=True, tag="run_removed"):
    """A run was deleted by retention."""

    run: int


class StageChanged(Event, frozen=True, kw_only=True, tag="stage_changed"):
    """A stage has changed; `stage.jobs` is empty."""

    run: int
    stage: StageView


class JobChanged(Event, frozen=True, kw_only=True, tag="job_changed"):
    """A job has changed in any visible way."""

    run: int
    stage: str
    job: JobView


class WorkerChanged(Event, frozen=True, kw_only=True, tag="worker_changed"):
    """A worker is new or has changed."""

    worker: WorkerView


class Beacon(Event, frozen=True, kw_only=True, tag="beacon"):
    """Sent every second with the newest `seq`, so that a lost last event is noticed too. Has no number of its own.

    `at` is the coordinator's wall clock, for readers whose own differs; 0: not reported.
    """

    at: float = 0.0


class Events(Event, frozen=True, kw_only=True, tag="events"):
    """Whole state events in order, each with its own number; none of them has a payload."""

    events: list[msgspec.Raw]


class LogAppended(Event, frozen=True, kw_only=True, tag="log_appended"):
    """(+payload) Log bytes stored from `offset` on. An empty payload with `complete`: the log has ended.

    `times` says when the worker has read them (`protocol.log_times.encode`, from `offset` on).
    """

    attempt: str
    offset: int
    stream: str = "job"
    complete: bool = False
    times: bytes = b""


AnyEvent = RunChanged | RunRemoved | StageChanged | JobChanged | WorkerChanged | Beacon | LogAppended
