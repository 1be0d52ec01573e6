"""Protocol of the run store; `store.py` implements it with peewee."""

from __future__ import annotations

from typing import Protocol

from coordinator.engine.effects import Turn
from coordinator.engine.state import EnvironmentState, KeptContainer, RunState, WorkerState
from protocol.messages import RunFilter
from protocol.views import AttemptTests, ReleaseView, RunSummary, StoryLine
from protocol.workspace import GitWorkspace


class RunStore(Protocol):
    """Durable runs and workers. Every write is one transaction, and fails in another coordinator's term."""

    @property
    def coordinator_id(self) -> str:
        """The coordinator's lasting id, kept in the database."""

    def next_ids(self) -> tuple[int, int]:
        """The lowest unused ids of a run and of a job."""

    def load_unfinished(self) -> tuple[list[RunState], list[WorkerState]]:
        """The state that the engine restores: unfinished runs, oldest first, and every known worker."""

    def load_environments(self) -> list[EnvironmentState]:
        """All environments that are not stopped, which the engine restores."""

    def load_kept(self) -> list[KeptContainer]:
        """All kept containers, which the engine restores."""

    def write_turn(self, turn: Turn) -> None:
        """Writes all rows of a turn, or none."""

    def load_run(self, id: int) -> RunState | None:
        """A run with its stages, jobs and attempts."""

    def run_by_token(self, token: str) -> int | None:
        """The id of the run submitted with this token."""

    def remove_run(self, id: int) -> None:
        """Removes a finished run, and stopped environments that it deployed."""

    def list_runs(self, limit: int, before: int | None = None, only: RunFilter | None = None) -> list[RunSummary]:
        """Runs, newest first, with ids below `before` if given; with `only`, those that it selects."""

    def environment(self, project: str, name: str) -> EnvironmentState | None:
        """An environment, stopped or not."""

    def list_environments(self, project: str | None, limit: int) -> list[EnvironmentState]:
        """All environments, or those of a project, the latest deployment first."""

    def list_releases(self, project: str | None, limit: int) -> list[ReleaseView]:
        """The releases of all runs, or of those of a project, newest first."""

    def test_results(
        self, project: str | None, ref: str | None, job: str | None, before: int | None
    ) -> tuple[list[AttemptTests], bool]:
        """The results of tests of the newest jobs with ids below `before`, and whether there are older ones.

        Only of jobs of a project, a branch or tag, and a name, if these are given.
        """

    def git_workspaces(self, project: str, limit: int) -> list[GitWorkspace]:
        """The newest git workspaces of a project's runs, newest first, without repetitions."""

    def story(self, run: int, job: str) -> list[StoryLine]:
        """A job's story, in order."""

    def close(self) -> None:
        """Closes the database."""
