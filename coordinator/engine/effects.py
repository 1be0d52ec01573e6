"""The engine's effects: rows, frames and events of a turn. Data only.

The server writes all rows of a `Turn` in one transaction, commits, and only then sends and announces.
"""

from __future__ import annotations

import msgspec

from coordinator.engine.state import (
    AttemptState,
    EnvironmentState,
    JobState,
    KeptContainer,
    RunState,
    StageState,
    WorkerState,
)
from protocol.compilation import ChildRequest
from protocol.events import Event
from protocol.messages import Message, Origin
from protocol.plan import ExternalNeed
from protocol.workspace import Workspace


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


class KeptTests(msgspec.Struct, frozen=True):
    """The packed results of an attempt's tests; `files` identifies the files that its run was started with."""

    job: int
    number: int
    files: str
    results: bytes


class OwnWorkspace(msgspec.Struct, frozen=True):
    """The files that a job's attempts from `number` on get in place of the run's; None: the run's again."""

    job: int
    number: int
    workspace: Workspace | None


class CompileChild(msgspec.Struct, frozen=True):
    """A pipeline to be compiled for an attempt; asked for again after a restart, until there is an answer.

    `origin` is what it is made of; None for a pipeline of another project that has to be looked for. Then `request` is
    yet to be completed with what is found.
    """

    attempt: str
    request: ChildRequest
    origin: Origin | None


class LookUp(msgspec.Struct, frozen=True):
    """What a queued job needs of other pipelines, to be looked for among stored runs; asked for again after a restart.

    `run` and `project` are the job's own. With `mirrors`, the latest run of that project is wanted instead of `needs`.
    """

    job: int
    run: int
    project: str
    needs: list[ExternalNeed]
    mirrors: str


class Turn(msgspec.Struct):
    """All effects of one turn. Each changed object appears once; `sends` and `events` are in order."""

    runs: list[RunState] = []
    stages: list[StageState] = []
    jobs: list[JobState] = []
    attempts: list[AttemptState] = []
    workers: list[WorkerState] = []
    environments: list[EnvironmentState] = []
    kept: list[KeptContainer] = []
    unkept: list[str] = []  # attempts whose containers are kept no longer
    stories: list[Story] = []
    tests: list[KeptTests] = []
    workspaces: list[OwnWorkspace] = []
    sends: list[Send] = []
    events: list[Event] = []
    children: list[CompileChild] = []
    look_ups: list[LookUp] = []
    ended_attempts: list[AttemptState] = []  # their log streams are complete

    def __bool__(self) -> bool:
        return bool(
            self.runs
            or self.stages
            or self.jobs
            or self.attempts
            or self.workers
            or self.environments
            or self.kept
            or self.unkept
            or self.stories
            or self.sends
            or self.events
            or self.children
            or self.look_ups
        )
