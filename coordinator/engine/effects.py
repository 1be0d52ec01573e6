"""The engine's effects: rows, frames and events of a turn. Data only.

The server writes all rows of a `Turn` in one transaction, commits, and only then sends and announces.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coordinator.engine.state import AttemptState, JobState, RunState, StageState, WorkerState
from protocol.compilation import ChildRequest
from protocol.events import Event
from protocol.messages import Message


@dataclass(slots=True, frozen=True)
class Send:
    """A message for a worker; dropped if it is not connected (its next hello reconciles the state)."""

    worker: str
    message: Message


@dataclass(slots=True, frozen=True)
class Story:
    """A line of a job's story, kept in the database and printed by `show --why`."""

    run_id: int
    job: str
    attempt: str | None
    at: float
    text: str


@dataclass(slots=True, frozen=True)
class CompileChild:
    """A child pipeline to be compiled for an attempt; asked for again after a restart, until there is an answer."""

    attempt: str
    request: ChildRequest


@dataclass(slots=True)
class Turn:
    """All effects of one turn. Each changed object appears once; `sends` and `events` are in order."""

    runs: list[RunState] = field(default_factory=list)
    stages: list[StageState] = field(default_factory=list)
    jobs: list[JobState] = field(default_factory=list)
    attempts: list[AttemptState] = field(default_factory=list)
    workers: list[WorkerState] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    children: list[CompileChild] = field(default_factory=list)
    ended_attempts: list[AttemptState] = field(default_factory=list)  # their log streams are complete

    def __bool__(self) -> bool:
        return bool(
            self.runs
            or self.stages
            or self.jobs
            or self.attempts
            or self.workers
            or self.stories
            or self.sends
            or self.events
            or self.children
        )
