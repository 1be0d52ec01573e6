"""A coordinator, and a worker if wanted, in threads of this process: what `run` brings when nobody else serves.

The same code and the same sockets as in processes of their own. Crash-only: ending this process at any moment is
allowed; whoever serves the state directory next goes on, and its worker takes the containers back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING

from coordinator.cli import interpreter
from coordinator.cli.state import StateDirectory
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from protocol.errors import LongshoreError
from protocol.statuses import ExecutionStatus

if TYPE_CHECKING:
    from daemon.worker import Worker

WORKER_NAME = "local"
"""The same in every process that serves a state directory, for a worker takes back the containers of its name."""
MIN_SLOTS = 2
"""Also one CPU overlaps the waiting of two jobs."""
STOP_SECONDS = 5.0
"""How long a thread may take to stop; the process may end all the same."""


class Embedded:
    """Serves the state directory, which this process must have locked."""

    def __init__(self, state: StateDirectory, *, worker: bool = True) -> None:
        self._state = state
        self._failure: BaseException | None = None
        self._ready = Event()  # the worker has an engine, or something has failed
        self._worker: Worker | None = None
        if worker:
            Thread(target=_import_worker, name="import", daemon=True).start()
        self._coordinator = Coordinator(CoordinatorSettings(state=state.path, bind="tcp://127.0.0.1:0"))
        self._coordinator.start()
        self.address = self._coordinator.address
        self.credentials = self._coordinator.door.access.local
        self._coordinator_thread = self._run(self._coordinator.run, "coordinator")
        self._worker_thread = self._run(self._work, "worker") if worker else None

    def _work(self) -> None:
        from coordinator.cli.workers import make_worker
        from daemon.settings import WorkerSettings

        settings = WorkerSettings(
            state_dir=self._state.path / "worker",
            coordinator=self.address,
            credentials=self.credentials,
            name=WORKER_NAME,
            slots=max(MIN_SLOTS, len(os.sched_getaffinity(0))),
        )
        self._worker = make_worker(settings, self._coordinator.store.coordinator_id)
        self._ready.set()
        self._worker.run()

    def _run(self, body: Callable[[], object], name: str) -> Thread:
        def guarded() -> None:
            try:
                body()
            except BaseException as error:
                self._failure = error
                self._ready.set()

        thread = Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def wait_for_engine(self) -> None:
        """Returns when the worker has a Docker engine. Raises EngineUnavailable when there is none."""
        self._ready.wait()
        self.check()
        interpreter.settle()

    def check(self) -> None:
        """Raises what has ended one of the threads."""
        if isinstance(self._failure, LongshoreError):
            raise self._failure
        if self._failure is not None:
            raise LongshoreError(f"a part of Longshore failed: {self._failure!r}") from self._failure

    def stop(self) -> bool:
        """Stops the threads, never the jobs' containers. Returns whether runs are left that could go on."""
        if self._worker_thread is not None:
            self._ready.wait(STOP_SECONDS)
            if self._worker is not None:
                self._worker.stop()  # the first stop lets what runs finish,
                self._worker.stop()  # the second one leaves it to the next worker of this name
            self._worker_thread.join(STOP_SECONDS)
        self._coordinator.stop()
        self._coordinator_thread.join(STOP_SECONDS)
        unfinished = self._coordinator.engine.unfinished().values()
        return any(run.status is not ExecutionStatus.MANUAL for run in unfinished)


def _import_worker() -> None:
    """While the coordinator waits for its disk."""
    import coordinator.cli.workers  # noqa: F401
