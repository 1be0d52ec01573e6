"""Prints stored and growing logs for the verb `logs`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from coordinator.cli.follow import Follower
from coordinator.cli.output import JobOutput
from coordinator.cli.session import Session
from protocol.client import Client
from protocol.codec import CHUNK_BYTES
from protocol.errors import UsageError
from protocol.statuses import ENDED
from protocol.views import JobView, RunSummary, RunView


def print_log(client: Client, run: int, job: str, attempt: int | None = None) -> None:
    """One job's log as it is stored now, byte for byte."""
    _read(client, run, job, attempt, _write)


def print_service_log(client: Client, run: int, job: str, service: str, attempt: int | None = None) -> None:
    """The log of one of a job's services, byte for byte. Raises UsageError if none of it is kept."""
    found, _ = client.get_log(run, job, attempt, f"service-{service}", length=1)
    if not found.size:
        kept = client.get_job(run, job).services
        hint = f"there are those of {', '.join(kept)}" if kept else "services' logs come when their job has ended"
        raise UsageError(f"job {job!r} of run {run} has no log of a service {service!r}; {hint}")
    _read(client, run, job, attempt, _write, f"service-{service}")


def print_logs(client: Client, run: RunView) -> None:
    """The logs of all jobs as they are stored now, job after job."""
    output = _output(run)
    for stage in run.stages:
        for job in stage.jobs:
            _read(client, run.id, job.name, None, partial(output.log, job.name))
            output.end(job.name)


def follow_logs(session: Session, run: RunView, job: str | None) -> None:
    """The logs of all jobs as they come, or one job's byte for byte, until the end."""
    listener = _LogListener(None if job else _output(run))
    Follower(session, run.id, listener, only=job).follow()


class _LogListener:
    """Prints what the jobs of a followed run log, with their names; without `output`, as it is."""

    def __init__(self, output: JobOutput | None) -> None:
        self._output = output

    def job_log(self, job: JobView, data: bytes | memoryview) -> None:
        if self._output is None:
            _write(data)
        else:
            self._output.log(job.name, data)

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        if self._output is not None and job.status in ENDED:
            self._output.end(job.name)

    def run_changed(self, run: RunSummary) -> None:
        """The jobs tell it."""

    def time_passes(self) -> None:
        """Logs need no clock."""

    def connection(self, lost: bool) -> None:
        if lost:
            print("the coordinator does not answer; waiting for it", file=sys.stderr)


def _output(run: RunView) -> JobOutput:
    names = [job.name for stage in run.stages for job in stage.jobs]
    return JobOutput(sys.stdout.buffer, names, colors=sys.stdout.isatty())


def _read(
    client: Client, run: int, job: str, attempt: int | None, sink: Callable[[bytes], None], stream: str = "job"
) -> None:
    offset, size = 0, 1
    while offset < size:
        found, data = client.get_log(run, job, attempt, stream, offset, CHUNK_BYTES)
        if not data:
            return
        sink(data)
        offset, size = offset + len(data), found.size


def _write(data: bytes | memoryview) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
