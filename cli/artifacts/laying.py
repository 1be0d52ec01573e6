"""Lays each job's artifacts into a directory as the job ends, beside the thread that follows the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType

from cli.artifacts.fetching import Fetcher, directory_names
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError
from protocol.views import JobView, RunView

STOPPED_SECONDS = 0.2
"""Time between two questions whether to stop."""


class Laying:
    """Lays artifacts into `root`/JOB. Use in a `with` block around the following of the run.

    `connect` makes a client for the thread; `jobs` are the names of the run's own jobs. The jobs of child runs, and
    those that could not be fetched since the coordinator went away, are left for `finish`.
    """

    def __init__(self, root: Path, jobs: Iterable[str], connect: Callable[[], Client]) -> None:
        self._root = root
        self._jobs = frozenset(jobs)
        self._names = directory_names(sorted(self._jobs))
        self._connect = connect
        self._ended: SimpleQueue[JobView | None] = SimpleQueue()
        self._laid: dict[str, int] = {}  # the last attempt laid, by job
        self._failures: dict[str, str] = {}
        self._thread = Thread(target=self._work, name="artifacts", daemon=True)

    def __enter__(self) -> Laying:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.put(None)

    def job_ended(self, job: JobView) -> None:
        """A job of the run has ended."""
        if job.name in self._jobs and job.artifacts:
            self._ended.put(job)

    def finish(
        self, run: RunView, children: Mapping[int, RunView], fetcher: Fetcher, stopped: Callable[[], bool]
    ) -> list[str]:
        """Waits for the thread, and fetches what it has not; a child run's files go to the directory of its trigger
        job. Returns early when `stopped`. Returns what could not be laid.
        """
        self._ended.put(None)
        while self._thread.is_alive() and not stopped():
            self._thread.join(STOPPED_SECONDS)
        places = {run.id: self._root}
        for each in (run, *children.values()):
            jobs = _jobs(each)
            names = directory_names(sorted(job.name for job in jobs))
            place = places[each.id]
            for job in jobs:
                places |= dict.fromkeys(job.child_runs, place / names[job.name])
                done = each is run and self._laid.get(job.name) == job.attempt
                if job.artifacts and not done and not stopped():
                    self._lay(job, place / names[job.name], fetcher)
        return list(self._failures.values())

    def _work(self) -> None:
        while (job := self._ended.get()) is not None:
            try:
                with self._connect() as client:
                    self._lay(job, self._root / self._names[job.name], Fetcher(lambda: client, _give_up))
                self._laid[job.name] = job.attempt
            except CoordinatorUnreachable:
                continue

    def _lay(self, job: JobView, place: Path, fetcher: Fetcher) -> None:
        self._failures.pop(str(place), None)
        try:
            fetcher.lay(job, place)
        except CoordinatorUnreachable:
            raise
        except (LongshoreError, OSError) as error:
            self._failures[str(place)] = f"the artifacts of {job.name} are not in {place}: {error}"


def _jobs(run: RunView) -> list[JobView]:
    return [job for stage in run.stages for job in stage.jobs]


def _give_up() -> None:
    """A lost connection is the business of the thread that follows the run."""
    raise CoordinatorUnreachable("the coordinator went away")
