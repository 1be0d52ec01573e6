"""Reads the log of a container from the engine: as it grows, its end, or what it says about the gate."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime

from daemon.engine import GONE, Engine, EngineError
from daemon.log_stream import JobLog, ScriptEnd, Skipper, StreamReader
from daemon.script import RELEASED_MARK

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a dropped stream is asked for again."""
END_LINES = 100
"""How many of the last lines are looked at for our last one: processes left in the background may write after it."""
RELEASED = re.compile(rb"(\d{4}-\d\d-\d\dT[^ ]+Z) [^\n]*" + re.escape(RELEASED_MARK))


def job_log_driver(max_bytes: int) -> dict[str, object]:
    """The engine's settings for a job's log.

    Driver `local` keeps bytes as they are (json-file replaces what is no UTF-8). A log that is rotated while it is
    followed loses lines without a word, so it must not be, short of what would fill a disk.
    """
    return {"Type": "local", "Config": {"max-size": str(max_bytes), "max-file": "2", "compress": "false"}}


def follow(engine: Engine, container: str, offset: int, sink: Callable[[bytes], None]) -> ScriptEnd | None:
    """Gives the log from byte `offset` on to `sink` until it is whole; how the script ended, unless it was cut off.

    When the container ends, the engine may close the stream before it has sent all of it. So unless our own last line
    was seen, the log is read once more when it can grow no longer.
    Raises EngineError, EngineUnavailable, and whatever `sink` raises.
    """
    log = JobLog(Skipper(offset, sink).write)
    reader = StreamReader(log, stored=True)
    pause = FIRST_PAUSE
    last = False
    while True:
        before = reader.raw_bytes
        try:
            _read(engine, container, reader, follow=not last)
        except GONE:
            pass
        else:
            if last or log.end is not None:
                break
        last = not _runs(engine, container)
        pause = FIRST_PAUSE if reader.raw_bytes > before else min(2 * pause, LONGEST_PAUSE)
        if not last:
            time.sleep(pause)
    log.close()
    return log.end


def _read(engine: Engine, container: str, reader: StreamReader, *, follow: bool, tail: str = "all") -> None:
    query: dict[str, str | int] = {"stdout": 1, "stderr": 1, "details": 1, "follow": int(follow), "tail": tail}
    with closing(engine.patiently(lambda: engine.raw(f"/containers/{container}/logs", query))) as stream:
        reader.read(stream)


def _runs(engine: Engine, container: str) -> bool:
    return bool(engine.call("GET", f"/containers/{container}/json")["State"]["Running"])


def read_tail(engine: Engine, container: str, most: int) -> bytes:
    """At most the last `most` bytes of a log. Raises EngineError, EngineUnavailable."""
    kept = bytearray()

    def keep(data: bytes) -> None:
        kept.extend(data)
        if len(kept) > 2 * most:
            del kept[:-most]

    log = JobLog(keep)
    _read(engine, container, StreamReader(log, stored=True), follow=False, tail=str(max(END_LINES, most // 100)))
    log.close()
    return bytes(kept[-most:])


def script_end(engine: Engine, container: str) -> ScriptEnd | None:
    """How the script of an ended container ended; None if it was cut off. Raises EngineError, EngineUnavailable."""
    log = JobLog(lambda data: None)
    _read(engine, container, StreamReader(log, stored=True), follow=False, tail=str(END_LINES))
    log.close()
    return log.end


def released_at(engine: Engine, container: str) -> datetime | None:
    """When the gate of a container was opened, by the engine's clock; None if it was not.

    Reads no further than to the mark, which is the first thing on stderr but for what the image's entrypoint says.
    """
    query = {"stdout": 0, "stderr": 1, "timestamps": 1}
    try:
        stream = engine.patiently(lambda: engine.raw(f"/containers/{container}/logs", query))
    except EngineError as error:
        if error.status == 404:
            return None
        raise
    received = bytearray()
    with closing(stream):
        while piece := stream.recv(1 << 16):
            received += piece
            if found := RELEASED.search(received):
                return datetime.fromisoformat(found[1].decode())
    return None
