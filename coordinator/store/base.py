"""What the coordinator needs of its database, seen from outside the store. `store` is the one that peewee makes."""

from __future__ import annotations

from typing import Protocol

from coordinator.engine.effects import Turn
from coordinator.engine.state import RunState, WorkerState
from protocol.views import RunSummary, StoryLine


class RunStore(Protocol):
    """Runs and workers, durable. Every write is one transaction, and none happens under another one's term."""

    @property
    def coordinator_id(self) -> str:
        """The lasting id of whoever coordinates with this database."""

    def next_ids(self) -> tuple[int, int]:
        """The first ids of a run and of a job that were never used."""

    def load_unfinished(self) -> tuple[list[RunState], list[WorkerState]]:
        """All that the engine needs to go on: unfinished runs, oldest first, and every known worker."""

    def write_turn(self, turn: Turn) -> None:
        """Writes all rows of a turn, or none."""

    def load_run(self, id: int) -> RunState | None:
        """A run with all that belongs to it."""

    def run_by_token(self, token: str) -> int | None:
        """The run that a submission with this token has started."""

    def remove_run(self, id: int) -> None:
        """Removes a finished run."""

    def list_runs(self, limit: int, before: int | None = None) -> list[RunSummary]:
        """The newest runs, newest first; those older than the run `before`."""

    def story(self, run: int, job: str) -> list[StoryLine]:
        """What happened to a job, in order."""

    def close(self) -> None:
        """Lets the database go."""
