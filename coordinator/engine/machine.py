"""The engine's face: what may happen to a coordinator, as methods. Pure.

Each method changes the state and notes what is to be done; `flush` hands all of it out as one `Turn`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.engine.effects import Turn
from coordinator.engine.state import AttemptState, Now, RunState, WorkerState
from protocol import messages as m


@dataclass(slots=True, frozen=True)
class Settings:
    """What an operator may set. Seconds and bytes."""

    heartbeat: float = 5.0
    offline_after: float = 20.0
    lost_after: float = 3600.0
    restart_grace: float = 60.0
    lease: float = 30.0
    lease_margin: float = 15.0
    pending_timeout: float | None = None
    log_limit: int = 64 << 20


class Engine:
    """Owns all unfinished runs. Methods that answer a request raise ProtocolError for what can't be done."""

    def __init__(self, settings: Settings, *, next_run_id: int = 1, next_job_id: int = 1) -> None: ...

    def restore(self, runs: Iterable[RunState], workers: Iterable[WorkerState], now: Now) -> None:
        """Takes unfinished runs and all known workers over from the store after a start; workers are offline."""

    def flush(self, now: Now) -> Turn:
        """Schedules what can be scheduled and hands out all that the messages since the last flush brought about."""

    def tick(self, now: Now) -> None:
        """Lets time pass: leases, lost workers, delayed jobs, stuck jobs. Call at least once a second."""

    # workers

    def worker_hello(self, hello: m.Hello, now: Now) -> list[str]:
        """A worker is here (again). Returns the attempts it holds that it shall keep; send Welcome before the turn."""

    def worker_heard(self, worker: str, now: Now, *, disk_low: bool | None = None) -> None:
        """Any frame of a worker."""

    def worker_goodbye(self, worker: str, goodbye: m.Goodbye, now: Now) -> None: ...

    def holds(self, worker: str, attempt: str) -> AttemptState | None:
        """The unfinished attempt, if this worker holds it: whether its log bytes are taken."""

    def job_status(self, worker: str, message: m.JobStatus, stored_log: int, now: Now) -> None:
        """Applies a status once. `stored_log` is how many bytes of the attempt's log are durable by this turn's end."""

    def job_returned(self, worker: str, message: m.JobReturned, now: Now) -> None: ...

    def get_job_execution(self, worker: str, message: m.GetJobExecution) -> m.JobExecution: ...

    def get_job_dependencies(self, worker: str, message: m.GetJobDependencies) -> m.JobDependencies: ...

    def get_job_status(self, worker: str, message: m.GetJobStatus) -> m.JobStatusReply: ...

    # clients

    def submit_run(self, message: m.SubmitRun, now: Now, *, known: int | None) -> m.RunSubmitted:
        """`known` is the id of the run that was made with the same token before, as the store remembers it."""

    def cancel(self, message: m.Cancel, now: Now) -> m.Done: ...

    def retry(self, message: m.Retry, now: Now, *, run: RunState | None) -> m.Done:
        """`run` is the finished run as the store loads it; None when there is none of that id (or it is unfinished)."""

    def play(self, message: m.Play, now: Now) -> m.Done: ...

    def drain(self, message: m.DrainWorker, now: Now) -> m.Done: ...

    def unfinished(self) -> dict[int, RunState]:
        """Runs in memory, by id."""

    def workers(self) -> dict[str, WorkerState]: ...
