"""Prints stored and growing logs for the verb `logs`: byte for byte, or chosen lines, or lines with their times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from cli.follow.follower import Follower
from cli.follow.log_prefixer import JobOutput, TerminalLog, time_of
from cli.follow.stored_lines import LineChoice, find_lines
from cli.session.session import Session
from protocol.client import Client
from protocol.display import TerminalLines
from protocol.errors import UsageError
from protocol.log_lines import Line, LineCutter, LinePattern
from protocol.log_times import LogPiece, marks_of_pages
from protocol.names import CHUNK_BYTES
from protocol.statuses import ENDED
from protocol.views import JobView, RunSummary, RunView


class LogOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How logs are printed: `raw`, every byte to a terminal too; `times`, each line after its time; chosen lines."""

    raw: bool = False
    times: bool = False
    choice: LineChoice = LineChoice()

    @property
    def by_line(self) -> bool:
        """Whether lines are printed one by one."""
        return self.times or bool(self.choice)


BYTES = LogOptions()
"""Every byte, as stored."""


def print_log(client: Client, run: int, job: str, attempt: int | None = None, options: LogOptions = BYTES) -> None:
    """Prints one job's log as stored now: byte for byte, unless it goes to a terminal and is not `raw`."""
    sink = _sink(options)
    _read(client, run, job, attempt, sink, options)
    sink.end()


def print_service_log(
    client: Client, run: int, job: str, service: str, attempt: int | None = None, options: LogOptions = BYTES
) -> None:
    """Prints the log of one of a job's services, likewise. Raises UsageError if none is stored."""
    found, _ = client.get_log(run, job, attempt, f"service-{service}", length=1)
    if not found.size:
        kept = client.get_job(run, job).services
        hint = f"available: {', '.join(kept)}" if kept else "service logs are stored when their job ends"
        raise UsageError(f"job {job!r} of run {run} has no log of service {service!r}; {hint}")
    sink = _sink(options)
    _read(client, run, job, attempt, sink, options, f"service-{service}")
    sink.end()


def print_logs(client: Client, run: RunView, children: Mapping[int, RunView], options: LogOptions = BYTES) -> None:
    """Prints all jobs' logs as stored now, job by job; after a job, those of the run in `children` that it started."""
    jobs = list(_jobs(run, children, ""))
    output = _output([shown for _, _, shown in jobs], options)
    for id, name, shown in jobs:
        sink = _Prefixed(output, shown, options)
        _read(client, id, name, None, sink, options)
        sink.end()


def _jobs(run: RunView, children: Mapping[int, RunView], prefix: str) -> Iterator[tuple[int, str, str]]:
    """The jobs of a run and of those below it: the run, the name, and the name as shown."""
    for job in (job for stage in run.stages for job in stage.jobs):
        yield run.id, job.name, prefix + job.name
        if (child := children.get(job.child_runs[-1]) if job.child_runs else None) is not None:
            yield from _jobs(child, children, f"{prefix}{job.name}/")


def follow_logs(
    session: Session, run: RunView, job: str | None, *, children: bool = False, options: LogOptions = BYTES
) -> None:
    """Prints the logs of all jobs, or of one job, as they arrive, until the end; with `children`, of those below.

    If lines are chosen, those that are stored are found first, and the logs followed from there on.
    """
    names = [each.name for stage in run.stages for each in stage.jobs]
    output = None if job else _output(names, options)
    sinks: dict[str, _Sink] = {}

    def sink_of(name: str) -> _Sink:
        if name not in sinks:
            sinks[name] = _Prefixed(output, name, options) if output else _sink(options)
        return sinks[name]

    starts: dict[str, int] = {}
    if options.choice:
        for name in [job] if job else names:
            for found in find_lines(session.client, run.id, name, options.choice, whole=False):
                sink_of(name).lines(found.lines)
                if found.attempt_id is not None:
                    starts[found.attempt_id] = found.end
    listener = _LogListener(sink_of)
    Follower(session, run.id, listener, only=job, times=options.by_line, starts=starts, children=children).follow()
    for sink in sinks.values():
        sink.end()


class _Sink(Protocol):
    """Destination of one log."""

    def write(self, piece: LogPiece, /) -> None:
        """The next bytes."""

    def lines(self, lines: list[Line], /) -> None:
        """The next lines, instead: those that the coordinator has chosen."""

    def end(self) -> None:
        """End of the log."""


class _Exact:
    """Writes a log to stdout byte for byte, as it arrives; to a terminal, in whole sanitized lines."""

    def __init__(self, terminal: TerminalLog | None) -> None:
        self._terminal = terminal

    def write(self, piece: LogPiece, /) -> None:
        if self._terminal is not None:
            self._terminal.write(piece.data)
        else:
            sys.stdout.buffer.write(piece.data)
            sys.stdout.buffer.flush()

    def lines(self, lines: list[Line], /) -> None:
        """Not called: no lines are chosen."""

    def end(self) -> None:
        if self._terminal is not None:
            self._terminal.end()


class _ByLine:
    """Cuts a log into lines, and prints those that are chosen."""

    def __init__(self, options: LogOptions, show: Callable[[list[Line]], None]) -> None:
        self._cutter = LineCutter()
        self._pattern = LinePattern(options.choice.pattern)
        self._since = options.choice.since
        self._show = show

    def write(self, piece: LogPiece, /) -> None:
        self._choose(self._cutter.take(piece))

    def lines(self, lines: list[Line], /) -> None:
        if lines:
            self._show(lines)

    def end(self) -> None:
        self._choose(self._cutter.end())

    def _choose(self, lines: list[Line]) -> None:
        since = self._since
        self.lines(
            [line for line in lines if (since is None or (line.at or 0) >= since) and self._pattern.matches(line.text)]
        )


class _Prefixed:
    """Prints one of several logs to `output`, which puts its job's name before each line."""

    def __init__(self, output: JobOutput, job: str, options: LogOptions) -> None:
        self._output = output
        self._job = job
        self._by_line = (
            _ByLine(options, lambda lines: output.lines(job, lines, times=options.times)) if options.by_line else None
        )

    def write(self, piece: LogPiece, /) -> None:
        if self._by_line is not None:
            self._by_line.write(piece)
        else:
            self._output.log(self._job, piece.data)

    def lines(self, lines: list[Line], /) -> None:
        if self._by_line is not None:
            self._by_line.lines(lines)

    def end(self) -> None:
        if self._by_line is not None:
            self._by_line.end()
        self._output.end(self._job)


class _LogListener:
    """Passes the logs of a followed run to their sinks."""

    def __init__(self, sink_of: Callable[[str], _Sink]) -> None:
        self._sink_of = sink_of

    def job_log(self, job: JobView, piece: LogPiece) -> None:
        self._sink_of(job.name).write(piece)

    def job_changed(self, before: JobView | None, job: JobView) -> None:
        if job.status in ENDED:
            self._sink_of(job.name).end()

    def run_changed(self, run: RunSummary) -> None:
        """Unused: job events suffice."""

    def time_passes(self) -> None:
        """Unused: logs need no clock."""

    def connection(self, lost: bool) -> None:
        if lost:
            print("the coordinator does not answer; waiting for it", file=sys.stderr)


def _output(names: list[str], options: LogOptions) -> JobOutput:
    return JobOutput(sys.stdout.buffer, names, colors=sys.stdout.isatty(), raw=options.raw)


def _sink(options: LogOptions) -> _Sink:
    cleans = sys.stdout.isatty() and not options.raw
    if not options.by_line:
        return _Exact(TerminalLog(sys.stdout.buffer) if cleans else None)
    shown = TerminalLines() if cleans else None

    def show(lines: list[Line]) -> None:
        for line in lines:
            text = line.text if shown is None else shown.line(line.text)
            sys.stdout.buffer.write((time_of(line) + b" " if options.times else b"") + text + b"\n")
        sys.stdout.buffer.flush()

    return _ByLine(options, show)


def _read(
    client: Client, run: int, job: str, attempt: int | None, sink: _Sink, options: LogOptions, stream: str = "job"
) -> None:
    if options.choice:
        for part in find_lines(client, run, job, options.choice, attempt=attempt, stream=stream):
            sink.lines(part.lines)
        return
    offset, size = 0, 1
    while offset < size:
        found, data = client.get_log(run, job, attempt, stream, offset, CHUNK_BYTES, times=options.times)
        if not data:
            return
        sink.write(LogPiece(offset, data, marks_of_pages(found.times)))
        offset, size = offset + len(data), found.size
