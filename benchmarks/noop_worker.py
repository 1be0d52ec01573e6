"""A worker daemon whose executor does nothing, so that what is measured is Longshore alone.

Its jobs need no Docker. Everything else of the daemon (sockets, slots, threads, acknowledgements) is the real one.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from cli.process import interpreter
from daemon.executors.base import Collected, Dependencies, Executor, Found, Outcome, Sandbox
from daemon.settings import WorkerSettings
from daemon.worker import Worker
from protocol.messages import Assignment


class NoopSandbox(Sandbox):
    """Every step succeeds at once."""

    def prepare(self, workspace: Path | None) -> None:
        pass

    def hold(self) -> None:
        pass

    def release(self, dependencies: Dependencies) -> None:
        pass

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        pass

    def wait(self) -> Outcome:
        return Outcome(0)

    @property
    def after_seconds(self) -> float | None:
        """See Sandbox."""
        return None

    def interrupt(self) -> None:
        """See Sandbox."""

    def prolong(self, seconds: float) -> None:
        pass

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        pass

    def kill(self) -> None:
        pass

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        return []

    def service_logs(self) -> dict[str, bytes]:
        return {}

    def remove(self) -> None:
        pass


class NoopExecutor(Executor):
    """All jobs succeed at once."""

    def facts(self) -> str:
        return "no-op"

    def find(self) -> list[Found]:
        return []

    def sandbox(self, assignment: Assignment) -> Sandbox:
        return NoopSandbox()

    def execute(self, sandbox: Sandbox, dependencies: Dependencies | None, opened: Callable[[], None]) -> Outcome:
        opened()
        return Outcome(0)

    def discard(self, attempt: str) -> None:
        pass

    def sweep(self, keep: set[str]) -> int:
        return 0


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noop_worker")
    parser.add_argument("--coordinator", required=True, metavar="ADDRESS")
    parser.add_argument("--name", required=True)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    interpreter.begin()
    with tempfile.TemporaryDirectory(prefix="longshore-noop-") as state:
        worker = Worker(
            WorkerSettings(
                state_dir=Path(state), coordinator=options.coordinator, name=options.name, slots=options.slots
            ),
            NoopExecutor(),
        )
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        interpreter.settle()
        worker.run()


if __name__ == "__main__":
    main()
