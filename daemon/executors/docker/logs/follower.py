"""Follows a container's stored log to its end: over broken connections, and past lost parts.

Handles the engine's streams; independent of the log's user.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from daemon.executors.docker.api_client import GONE, DockerClient, EngineError
from daemon.executors.docker.logs.multiplexed import JobLog, LogTruncated, ScriptEnd, StreamDemultiplexer
from daemon.executors.docker.logs.stored import marked_at, runs, stored
from daemon.logs.resume import OffsetFilter
from protocol.backoff import Backoff
from protocol.errors import EngineUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a dropped stream is reopened."""
LOST = (
    b"\n[longshore: bytes of this log are lost here: the engine keeps only the newest 4 to 8 GiB of a job's output "
    b"and dropped the rest unread. The following may repeat output from above]\n"
)


class LogFollower:
    """Passes a log from byte `offset` on to `sink`. `lost`: the engine dropped parts of it before they were read.

    The engine silently drops the oldest part of a log that has become too large. The log's beginning reveals it: the
    gate's mark is missing, or differs from before. The amount lost is unknown; a line in the log says that.
    """

    def __init__(self, engine: DockerClient, container: str, offset: int, sink: Callable[[bytes], None]) -> None:
        self.lost = False
        self._engine = engine
        self._container = container
        self._sink = sink
        self._skipper = OffsetFilter(offset, sink)
        self._log = JobLog(self._skipper.write, self._unmarked)
        self._reader = StreamDemultiplexer(self._log, stored=True)

    def follow(self) -> ScriptEnd | None:
        """Returns when the log is complete: the script's end, unless it was cut off.

        When the container ends, the engine may close the stream before it has sent everything. Unless our own last line
        was seen, the log is therefore read once more when it can no longer grow.
        Raises EngineError, EngineUnavailable, and whatever the sink raises.
        """
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        last = False
        while True:
            before = self._reader.raw_bytes
            try:
                with stored(self._engine, self._container, follow=not last) as stream:
                    self._reader.read(stream)
            except GONE:
                pass
            except LogTruncated:
                self._begin_anew()
                continue
            else:
                if last or self._log.end is not None:
                    break
            last = not runs(self._engine, self._container)
            if self._reader.raw_bytes > before:
                backoff.reset()
            if not last:
                time.sleep(backoff.pause())
        self._log.close()
        self._look_back()
        return self._log.end

    def _unmarked(self) -> None:
        """Much output without the gate's mark: it follows the output of an entrypoint, or was dropped."""
        if marked_at(self._engine, self._container) is None:
            self._skipper.skip_no_more()
            self._say_lost()

    def _begin_anew(self) -> None:
        """The part read is no longer in the engine's log: continues with the rest."""
        self._log.close()
        self._say_lost()
        self._log = JobLog(self._sink)
        self._log.begin()
        self._reader = StreamDemultiplexer(self._log, stored=True)

    def _look_back(self) -> None:
        """Checks whether the engine has dropped a part while the log was followed, and skips that part.

        The log is complete without it, so an absent engine is not waited for.
        """
        with suppress(EngineError, EngineUnavailable, *GONE):
            try:
                with stored(self._engine, self._container, patience=0) as stream:
                    self._reader.check_beginning(stream)
            except LogTruncated:
                self._say_lost()

    def _say_lost(self) -> None:
        self.lost = True
        self._sink(LOST)
