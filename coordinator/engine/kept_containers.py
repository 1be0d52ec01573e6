"""Containers that workers keep after their jobs' end, until their time is up or somebody drops them. Pure.

A worker reports a kept container with its job's final status, and lists all of them with each heartbeat: a heartbeat
that follows the status without it says that it is gone. What a worker keeps and nobody here knows of is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.engine.ledger import Ledger
from coordinator.engine.state import AttemptState, JobState, KeptContainer
from protocol import messages as m
from protocol.errors import ProtocolError

LONGEST_KEPT = 366 * 86_400.0
"""Maximum time in seconds, so that the end stays within the range of date types."""
FORGOTTEN_AFTER = 60.0
"""Seconds after its time at which a container counts as gone even if its worker says nothing."""


class KeptContainers:
    """The engine's half for kept containers, by attempt."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def restore(self, kept: Sequence[KeptContainer]) -> None:
        """After a start: those that the store has."""
        self._ledger.kept.update((one.attempt, one) for one in kept)

    def job_ended(self, worker: str, job: JobState, attempt: AttemptState, seconds: float) -> None:
        """A worker keeps an attempt's container; it replaces that of an earlier attempt of the job."""
        for other in [one for one in self._ledger.kept.values() if (one.run, one.job) == (job.run_id, job.plan.name)]:
            self._drop(other)
        until = self._ledger.now.wall + max(0.0, min(seconds, LONGEST_KEPT))
        self._ledger.keep(KeptContainer(attempt.id, job.run_id, job.plan.name, worker, until))
        self._ledger.tell(job, f"its container is kept on {worker}")

    def reported(self, worker: str, kept: Sequence[m.KeptAttempt]) -> None:
        """A worker's heartbeat lists all that it keeps."""
        there = {one.attempt for one in kept}
        for known in [one for one in self._ledger.kept.values() if one.worker == worker and one.attempt not in there]:
            self._ledger.unkeep(known)
        for attempt in there - self._ledger.kept.keys():
            if self._ledger.find_attempt(attempt) is None or not self._is_to_end(worker, attempt):
                self._ledger.send(worker, m.DropKept(attempt=attempt))

    def _is_to_end(self, worker: str, attempt: str) -> bool:
        """Whether the attempt's final status, which says that it is kept, is yet to come."""
        state = self._ledger.workers.get(worker)
        return state is not None and attempt in state.attempts

    def drop(self, message: m.Drop) -> m.Done:
        """Ends the kept containers of a run or a job."""
        chosen = [
            one for one in self._ledger.kept.values() if one.run == message.run and message.job in (None, one.job)
        ]
        if not chosen:
            what = f"job {message.job!r} of run {message.run}" if message.job is not None else f"run {message.run}"
            raise ProtocolError("not_found", f"no container of {what} is kept")
        for one in chosen:
            self._drop(one)
        return m.Done(id=message.id, count=len(chosen))

    def _drop(self, kept: KeptContainer) -> None:
        """If its worker is away, its next heartbeat has it dropped."""
        self._ledger.send(kept.worker, m.DropKept(attempt=kept.attempt))
        self._ledger.unkeep(kept)

    def check_time(self) -> None:
        """Forgets those whose time is long over, of workers that have not come back."""
        for one in list(self._ledger.kept.values()):
            if self._ledger.now.wall > one.until + FORGOTTEN_AFTER:
                self._ledger.unkeep(one)

    def place_of(self, run: int, job: str) -> tuple[str, str]:
        """The attempt of a job whose container runs or is kept, and its worker. Raises ProtocolError."""
        index = self._ledger.indexes.get(run)
        state = index.by_name.get(job) if index is not None else None
        attempt = state.attempt if state is not None else None
        holder = self._ledger.holder_of(attempt)
        if attempt is not None and holder is not None and attempt.started_at is not None:
            return attempt.id, holder.name
        for one in self._ledger.kept.values():
            if (one.run, one.job) == (run, job):
                return one.attempt, one.worker
        status = f" (it is {state.status})" if state is not None else ""
        raise ProtocolError(
            "bad_request",
            f"job {job!r} of run {run} has no container{status}: the container of a job that has ended is kept if "
            "the run was started with --keep-on-failure or --keep JOB",
        )
