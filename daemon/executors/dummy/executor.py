"""An executor whose jobs succeed at once, to measure Longshore alone."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from daemon.executors.base import Collected, Dependencies, Executor, Found, Outcome, Sandbox, Workspace
from daemon.executors.registry import ExecutorOptions
from protocol.messages import Assignment
from protocol.views import Capability


class DummySandbox(Sandbox):
    """Every step succeeds at once."""

    def prepare(self, workspace: Workspace | None) -> None:
        """See Sandbox."""

    def hold(self) -> None:
        """See Sandbox."""

    def release(self, dependencies: Dependencies) -> None:
        """See Sandbox."""

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        """See Sandbox. The log is empty."""

    def wait(self) -> Outcome:
        """See Sandbox."""
        return Outcome(0)

    def prolong(self, seconds: float) -> None:
        """See Sandbox."""

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        """See Sandbox."""

    def kill(self) -> None:
        """See Sandbox."""

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        """See Sandbox."""
        return []

    def service_logs(self) -> dict[str, bytes]:
        """See Sandbox."""
        return {}

    def remove(self) -> None:
        """See Sandbox."""


class DummyExecutor(Executor):
    """See `daemon.executors.base.Executor`."""

    kind = "dummy"
    capabilities = frozenset({Capability.HOLD, Capability.LEASES})

    @classmethod
    def open(cls, options: ExecutorOptions) -> DummyExecutor:
        """See ExecutorClass."""
        return cls()

    def facts(self) -> str:
        """See Executor."""
        return "runs nothing"

    def find(self) -> list[Found]:
        """See Executor."""
        return []

    def sandbox(self, assignment: Assignment) -> Sandbox:
        """See Executor."""
        return DummySandbox()

    def discard(self, attempt: str) -> None:
        """See Executor."""

    def sweep(self, keep: Container[str]) -> int:
        """See Executor."""
        return 0

    def close(self) -> None:
        """See Executor."""
