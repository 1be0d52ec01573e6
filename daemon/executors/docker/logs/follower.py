"""Follows a container's log as the engine has stored it: over connections that break, to its end, past what is lost.

Knows the engine's streams; nothing of who wants the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from daemon.executors.docker.api_client import GONE, DockerClient, EngineError
from daemon.executors.docker.logs.multiplexed import JobLog, LogTruncated, ScriptEnd, StreamDemultiplexer
from daemon.executors.docker.logs.stored import marked_at, runs, stored
from daemon.logs.resume import OffsetFilter
from protocol.errors import EngineUnavailable

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds before a dropped stream is asked for again."""
LOST = (
    b"\n[longshore: bytes of this log are lost here: the engine keeps the newest 4 to 8 GiB of what a job prints, and "
    b"more had come before it was read. What follows may repeat some of what is above]\n"
)


class LogFollower:
    """Gives a log from byte `offset` on to `sink`. `lost`: the engine had dropped parts of it before they were read.

    It drops the oldest of a log that has become too large, without a word. That is seen by the log's beginning: the
    gate's mark is not there, or it is another one than before. How much is missing nobody knows; the log says that.
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
        """Returns when the log is whole: how the script ended, unless it was cut off.

        When the container ends, the engine may close the stream before it has sent all of it. So unless our own last
        line was seen, the log is read once more when it can grow no longer.
        Raises EngineError, EngineUnavailable, and whatever the sink raises.
        """
        pause = FIRST_PAUSE
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
            pause = FIRST_PAUSE if self._reader.raw_bytes > before else min(2 * pause, LONGEST_PAUSE)
            if not last:
                time.sleep(pause)
        self._log.close()
        self._look_back()
        return self._log.end

    def _unmarked(self) -> None:
        """So much has come, and not the gate's mark: it is behind what an entrypoint says, or it was dropped."""
        if marked_at(self._engine, self._container) is None:
            self._skipper.skip_no_more()
            self._say_lost()

    def _begin_anew(self) -> None:
        """What was read is not in the engine's log any more: goes on with all that is."""
        self._log.close()
        self._say_lost()
        self._log = JobLog(self._sink)
        self._log.begin()
        self._reader = StreamDemultiplexer(self._log, stored=True)

    def _look_back(self) -> None:
        """Whether the engine has dropped something while the log was followed: it jumps over that.

        The log is whole without that; so an engine that is away is not waited for.
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
