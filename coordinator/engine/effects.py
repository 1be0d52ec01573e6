"""The engine's effects: rows, frames and events of a turn. Data only.

The server writes all rows of a `Turn` in one transaction, commits, and only then sends and announces.
"""

from __future__ import annotations

import msgspec

from coordinator.engine.state import AttemptState, EnvironmentState, JobState, RunState, StageState, WorkerState
from protocol.compilation import ChildRequest
from protocol.events import Event
from protocol.messages import Message


class Send(msgspec.Struct, frozen=True):
    """A message for a worker; dropped if it is not connected (its next hello reconciles the state)."""

    worker: str
    message: Message


class Story(msgspec.Struct, frozen=True):
    """A line of a job's story, kept in the database and printed by `show --why`."""

    run_id: int
    job: str
    attempt: str | None
    at: float
    text: str


class CompileChild(msgspec.Struct, frozen=True):
    """A child pipeline to be compiled for an attempt; asked for again after a restart, until there is an answer."""

    attempt: str
    request: ChildRequest


class Turn(msgspec.Struct):
    """All effects of one turn. Each changed object appears once; `sends` and `events` are in order."""

    runs: list[RunState] = []
    stages: list[StageState] = []
    jobs: list[JobState] = []
    attempts: list[AttemptState] = []
    workers: list[WorkerState] = []
    environments: list[EnvironmentState] = []
    stories: list[Story] = []
    sends: list[Send] = []
    events: list[Event] = []
    children: list[CompileChild] = []
    ended_attempts: list[AttemptState] = []  # their log streams are complete

    def __bool__(self) -> bool:
        return bool(
            self.runs
            or self.stages
            or self.jobs
            or self.attempts
            or self.workers
            or self.environments
            or self.stories
            or self.sends
            or self.events
            or self.children
        )
