"""A coordinator, and a worker if wanted, in threads of this process: what `run` brings when nobody else serves.

The same code and the same sockets as in processes of their own. Crash-only: ending this process at any moment is
allowed; whoever serves the state directory next goes on, and its worker takes the containers back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

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
        self._coordinator = Coordinator(CoordinatorSettings(state=state.path, bind="tcp://127.0.0.1:0"))
        self._coordinator.start()
        self.address = self._coordinator.address
        self._failure: BaseException | None = None
        self._threads = [self._run(self._coordinator.run, "coordinator")]
        self._stops = [self._coordinator.stop]
        if worker:
            self._start_worker(state)

    def _start_worker(self, state: StateDirectory) -> None:
        from daemon.settings import WorkerSettings
        from daemon.worker import Worker

        slots = max(MIN_SLOTS, len(os.sched_getaffinity(0)))
        settings = WorkerSettings(
            state_dir=state.path / "worker", coordinator=self.address, name=WORKER_NAME, slots=slots
        )
        worker = Worker(settings)
        self._threads.insert(0, self._run(worker.run, "worker"))
        self._stops.insert(0, partial(_leave_at_once, worker))

    def _run(self, body: Callable[[], object], name: str) -> Thread:
        def guarded() -> None:
            try:
                body()
            except BaseException as error:
                self._failure = error

        thread = Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def check(self) -> None:
        """Raises what has ended one of the threads."""
        if self._failure is not None:
            if isinstance(self._failure, LongshoreError):
                raise self._failure
            raise LongshoreError(f"a part of Longshore failed: {self._failure!r}") from self._failure

    def stop(self) -> bool:
        """Stops the threads, never the jobs' containers. Returns whether runs are left that could go on."""
        for stop, thread in zip(self._stops, self._threads, strict=True):
            stop()
            thread.join(STOP_SECONDS)
        unfinished = self._coordinator.engine.unfinished().values()
        return any(run.status is not ExecutionStatus.MANUAL for run in unfinished)


def _leave_at_once(worker: Worker) -> None:
    """The first stop lets running jobs finish, the second one leaves their containers to the next worker."""
    worker.stop()
    worker.stop()
