"""A coordinator, optionally with a worker, in threads of this process: used by `run` when no other process serves.

Same code and sockets as in separate processes. Crash-only: this process may end at any moment; the next owner of the
state directory resumes, and its worker takes over the containers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING

from cli.options.serving import TAKEOVER_SECONDS, Serving, WorkerOptions
from cli.process import interpreter
from cli.session.progressing import progressing
from cli.session.state_directory import StateDirectory
from coordinator.server import Coordinator
from coordinator.settings import CoordinatorSettings
from protocol.errors import LongshoreError

if TYPE_CHECKING:
    from daemon.worker import Worker

MIN_SLOTS = 2
"""Even a single CPU overlaps the waits of two jobs."""
LEAVE_SECONDS = 2.0
"""Time for workers to leave, with their removals: ten times what these take without large files. A background process
completes what takes longer."""
STOP_SECONDS = 5.0
"""Time for a thread to stop; the process may exit regardless."""


class Embedded:
    """Serves the state directory, which this process must have locked."""

    def __init__(self, state: StateDirectory, serving: Serving, *, worker: bool = True) -> None:
        self._state = state
        self._failure: BaseException | None = None
        self._ready = Event()  # the workers have an engine, or a thread has failed
        self._workers: list[Worker] = []
        if worker:
            Thread(target=_import_worker, name="import", daemon=True).start()
        self._coordinator = Coordinator(
            CoordinatorSettings(
                state=state.path,
                bind="tcp://127.0.0.1:0",
                retention=serving.coordinator.retention,
                limits=serving.coordinator.bounds,
                children=serving.coordinator.children(shared=False),
                stops_environments=worker,
            )
        )
        self._coordinator.start()
        self.address = self._coordinator.address
        self.credentials = self._coordinator.door.access.local
        engine = self._coordinator.engine
        keeping = {one.worker for one in engine.kept().values()}
        busy = [name for name, known in engine.workers().items() if known.attempts or name in keeping]
        self._coordinator_thread = self._run(self._coordinator.run, "coordinator")
        wanted = serving.workers(1, busy) if worker else {}
        self._count = len(wanted)
        self._worker_threads = [self._run(partial(self._work, *one), one[0]) for one in wanted.items()]

    def _work(self, name: str, options: WorkerOptions) -> None:
        from cli.session.worker_factory import make_worker

        settings = options.settings(
            state_dir=self._state.path / "worker",
            coordinator=self.address,
            credentials=self.credentials,
            name=name,
            name_wait=TAKEOVER_SECONDS,
            slots=max(MIN_SLOTS, len(os.sched_getaffinity(0))),
        )
        worker = make_worker(settings, self._coordinator.store.coordinator_id)
        self._workers.append(worker)
        if len(self._workers) == self._count:
            self._ready.set()
        worker.run()

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
        """Returns once the worker has a Docker engine. Raises EngineUnavailable if there is none."""
        self._ready.wait()
        self.check()
        interpreter.settle()

    def check(self) -> None:
        """Raises the failure of any thread that has ended."""
        if isinstance(self._failure, LongshoreError):
            raise self._failure
        if self._failure is not None:
            raise LongshoreError(f"a part of Longshore failed: {self._failure!r}") from self._failure

    def stop(self) -> bool:
        """Stops the threads, never the jobs' containers. Returns whether resumable runs, removals or kept containers
        remain.
        """
        if self._worker_threads:
            self._ready.wait(STOP_SECONDS)
            for worker in self._workers:
                worker.stop()  # the first stop lets running jobs finish,
                worker.stop()  # the second leaves them to the next worker of this name
            for thread in self._worker_threads:
                thread.join(LEAVE_SECONDS)
        self._coordinator.stop()
        self._coordinator_thread.join(STOP_SECONDS)
        if any(thread.is_alive() for thread in self._worker_threads) or any(one.removing for one in self._workers):
            return True
        return bool(progressing(self._coordinator.engine.unfinished().values()) or self._coordinator.engine.kept())


def _import_worker() -> None:
    """Imports the worker's modules while the coordinator waits for its disk."""
    import cli.session.worker_factory  # noqa: F401
