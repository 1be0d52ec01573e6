"""Prints stored and growing logs for the verb `logs`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

from cli.follow.follower import Follower
from cli.follow.log_prefixer import JobOutput, TerminalLog
from cli.session.session import Session
from protocol.client import Client
from protocol.errors import UsageError
from protocol.names import CHUNK_BYTES
from protocol.statuses import ENDED
from protocol.views import JobView, RunSummary, RunView


def print_log(client: Client, run: int, job: str, attempt: int | None = None, *, raw: bool = False) -> None:
    """Prints one job's log as stored now: byte for byte, unless it goes to a terminal and is not `raw`."""
    _print(client, run, job, attempt, "job", raw=raw)


def print_service_log(
    client: Client, run: int, job: str, service: str, attempt: int | None = None, *, raw: bool = False
) -> None:
    """Prints the log of one of a job's services, likewise. Raises UsageError if none is stored."""
    found, _ = client.get_log(run, job, attempt, f"service-{service}", length=1)
    if not found.size:
        kept = client.get_job(run, job).services
        hint = f"available: {', '.join(kept)}" if kept else "service logs are stored when their job ends"
        raise UsageError(f"job {job!r} of run {run} has no log of service {service!r}; {hint}")
    _print(client, run, job, attempt, f"service-{service}", raw=raw)


def print_logs(client: Client, run: RunView, children: Mapping[int, RunView], *, raw: bool = False) -> None:
    """Prints all jobs' logs as stored now, job by job; after a job, those of the run in `children` that it started."""
    jobs = list(_jobs(run, children, ""))
    output = JobOutput(sys.stdout.buffer, [shown for _, _, shown in jobs], colors=sys.stdout.isatty(), raw=raw)
    for id, name, shown in jobs:
        _read(client, id, name, None, partial(output.log, shown))
        output.end(shown)


def _jobs(run: RunView, children: Mapping[int, RunView], prefix: str) -> Iterator[tuple[int, str, str]]:
    """The jobs of a run and of those below it: the run, the name, and the name as shown."""
    for job in (job for stage in run.stages for job in stage.jobs):
        yield run.id, job.name, prefix + job.name
        if (child := children.get(job.child_runs[-1]) if job.child_runs else None) is not None:
            yield from _jobs(child, children, f"{prefix}{job.name}/")


def follow_logs(session: Session, run: RunView, job: str | None, *, children: bool = False, raw: bool = False) -> None:
    """Prints the logs of all jobs, or of one job, as they arrive, until the end; with `children`, of those below."""
    sink = _sink(raw)
    listener = _LogListener(None if job else _output(run, raw), sink)
    Follower(session, run.id, listener, only=job, children=children).follow()
    sink.end()


class _Sink(Protocol):
    """Destination of one log."""

    def write(self, data: bytes | memoryview, /) -> None:
        """The next bytes."""

    def end(self) -> None:
        """End of the log."""


class _Exact:
    """Writes a log to stdout byte for byte, as it arrives."""

    def write(self, data: bytes | memoryview, /) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def end(self) -> None:
        """Nothing is buffered."""


class _LogListener:
    """Prints the logs of a followed run: to `output` with job names, or one job's log to `sink`."""

    def __init__(self, output: JobOutput | None, sink: _Sink) -> None:
        self._output = output
        self._sink = sink

    def job_log(self, job: JobView, data: bytes | memoryview) -> None:
        if self._output is None:
            self._sink.write(data)
        else:
            self._output.log(job.name, data)

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        if self._output is not None and job.status in ENDED:
            self._output.end(job.name)

    def run_changed(self, run: RunSummary) -> None:
        """Unused: job events suffice."""

    def time_passes(self) -> None:
        """Unused: logs need no clock."""

    def connection(self, lost: bool) -> None:
        if lost:
            print("the coordinator does not answer; waiting for it", file=sys.stderr)


def _output(run: RunView, raw: bool) -> JobOutput:
    names = [job.name for stage in run.stages for job in stage.jobs]
    return JobOutput(sys.stdout.buffer, names, colors=sys.stdout.isatty(), raw=raw)


def _sink(raw: bool) -> _Sink:
    return TerminalLog(sys.stdout.buffer) if sys.stdout.isatty() and not raw else _Exact()


def _print(client: Client, run: int, job: str, attempt: int | None, stream: str, *, raw: bool) -> None:
    sink = _sink(raw)
    _read(client, run, job, attempt, sink.write, stream)
    sink.end()


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
