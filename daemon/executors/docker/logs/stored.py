"""Reads a container's stored log: all of it, its end, or its gate's marks."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial

from daemon.executors.common.script import RELEASED_MARK
from daemon.executors.docker.api_client import DockerClient
from daemon.executors.docker.logs.multiplexed import (
    MAX_HELD_BYTES,
    PIECE_BYTES,
    RECEIVE_BYTES,
    JobLog,
    ScriptEnd,
    Source,
    StreamDemultiplexer,
)

END_LINES = 100
"""Number of last lines searched for our last line: background processes may write after it."""
QUIET_SECONDS = 15.0
"""Seconds without data before checking whether the container is still running: the engine may never end a stream that
was opened at the very moment of the container's end (moby issue 31323)."""
STAMP = rb"(\d{4}-\d\d-\d\dT[^ ]+Z) "
RELEASED = re.compile(STAMP + rb"[^\n]*" + re.escape(RELEASED_MARK))
OLDEST = re.compile(STAMP)


def job_log_driver(max_bytes: int) -> dict[str, object]:
    """The engine's settings for a job's log.

    Driver `local` preserves bytes (json-file replaces invalid UTF-8). It keeps two files: when a third begins, the
    oldest is deleted, read or not. They are therefore as large as a disk can bear.
    """
    return {"Type": "local", "Config": {"max-size": str(max_bytes), "max-file": "2", "compress": "false"}}


@contextmanager
def stored(
    engine: DockerClient, container: str, *, follow: bool = False, tail: str = "all", patience: float | None = None
) -> Iterator[Source]:
    """A stored log's stream. Raises EngineError, EngineUnavailable (`patience` as in DockerClient)."""
    query: dict[str, str | int] = {"stdout": 1, "stderr": 1, "details": 1, "follow": int(follow), "tail": tail}
    with closing(engine.patiently(lambda: engine.raw(f"/containers/{container}/logs", query), patience)) as stream:
        yield _Watched(stream, partial(runs, engine, container)) if follow else stream


def runs(engine: DockerClient, container: str) -> bool:
    """Whether a container is running. Raises EngineError, EngineUnavailable."""
    return bool(engine.call("GET", f"/containers/{container}/json")["State"]["Running"])


class _Watched:
    """A stream that also ends when no more data can come."""

    def __init__(self, stream: socket.socket, runs: Callable[[], bool]) -> None:
        self._stream = stream
        self._runs = runs
        stream.settimeout(QUIET_SECONDS)

    def recv_into(self, buffer: memoryview, /) -> int:
        while True:
            try:
                return self._stream.recv_into(buffer)
            except TimeoutError:
                if not self._runs():
                    return 0


def read_tail(engine: DockerClient, container: str, most: int) -> bytes:
    """The last lines of a log, at most `most` bytes of them. Raises EngineError, EngineUnavailable.

    Whole lines only: the masker can't know the rest of a line that was cut in the middle.
    """
    entries = max(END_LINES, most // 100)
    kept = bytearray()

    def keep(data: bytes) -> None:
        kept.extend(data)
        if len(kept) > 2 * most:
            del kept[: -most - 1]  # one extra byte shows that there was more

    log = JobLog(keep)
    with stored(engine, container, tail=str(entries)) as stream:
        StreamDemultiplexer(log, stored=True).read(stream)
    log.close()
    all_asked_for = kept.count(b"\n") + most // PIECE_BYTES + 1 >= entries  # pieces of a long line are entries too
    end = bytes(kept[-most:])
    return end.partition(b"\n")[2] if all_asked_for or len(kept) > most else end


def script_end(engine: DockerClient, container: str) -> ScriptEnd | None:
    """The end of an ended container's script; None if it was cut off. Raises EngineError, EngineUnavailable."""
    log = JobLog(lambda data: None)
    with stored(engine, container, tail=str(END_LINES)) as stream:
        StreamDemultiplexer(log, stored=True).read(stream)
    log.close()
    return log.end


def released_at(engine: DockerClient, container: str) -> datetime | None:
    """Time of the gate's opening, by the engine's clock; None if it has not opened.

    If the engine has dropped the beginning of the log, with the gate's mark: the time of the oldest remaining line.
    """
    return marked_at(engine, container) or _oldest_line_at(engine, container)


def marked_at(engine: DockerClient, container: str) -> datetime | None:
    """Time of the gate's mark, if present.

    Reads only up to it; on stderr, only the image's entrypoint may write before it.
    """
    received = bytearray()
    with _stamped(engine, container, "stderr") as pieces:
        for piece in pieces:
            received += piece
            if found := RELEASED.search(received):
                return datetime.fromisoformat(found[1].decode())
    return None


def _oldest_line_at(engine: DockerClient, container: str) -> datetime | None:
    """Time of the oldest line in a log without the gate's mark, if there is more of it than an entrypoint writes."""
    oldest = b""
    length = 0
    with _stamped(engine, container, "stdout") as pieces:
        for piece in pieces:
            oldest = oldest or piece
            length += len(piece)
            if length > MAX_HELD_BYTES and (found := OLDEST.search(oldest)):
                return datetime.fromisoformat(found[1].decode())
    return None


def count_of(engine: DockerClient, container: str, mark: bytes) -> int:
    """Occurrences of a mark (see `script`) in a stored log. Raises EngineError, EngineUnavailable, one of GONE."""
    said = bytearray()
    query: dict[str, str | int] = {"stdout": 0, "stderr": 1}
    with closing(engine.patiently(lambda: engine.raw(f"/containers/{container}/logs", query))) as stream:
        while piece := stream.recv(RECEIVE_BYTES):
            said += piece
    return said.count(mark)


@contextmanager
def _stamped(engine: DockerClient, container: str, stream: str) -> Iterator[Iterator[bytes]]:
    """One stream of a log in pieces, each line with its time. Raises EngineError, EngineUnavailable."""
    query: dict[str, str | int] = {"stdout": 0, "stderr": 0, "timestamps": 1, stream: 1}
    connection = engine.patiently(lambda: engine.raw(f"/containers/{container}/logs", query))
    with closing(connection):
        yield iter(lambda: connection.recv(1 << 16), b"")
