"""Fills a document with a log of the coordinator: pages on demand, live bytes as they arrive.

Runs on the application's loop. The document may be opened at its end, read backwards and at random while the log
grows; gaps (slow connection, restarted coordinator) are detected by size and fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import BinaryIO

from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.events import LogAppended
from protocol.log_times import decode, marks_of_pages
from protocol.names import CHUNK_BYTES
from tui.client.feed_client import FeedClient
from tui.log.document import Document, Position
from tui.log.search import Search
from tui.log.times import LogTimes

PAGES_AT_ONCE = 3
"""Pages in one request of a search: as many as fit into the largest answer, with the byte before them."""
REQUESTS_AHEAD = 3
POLL = 3.0
"""Seconds between two size checks of a growing log, in case the feed lost its last bytes."""


class LogSource:
    """One stream of an attempt's log. `on_change` is called after every change of the document.

    `attempt` is the attempt's number, `attempt_id` its name on the feed; both are None before the job's first attempt.
    """

    def __init__(
        self,
        feed: FeedClient,
        run: int,
        job: str,
        *,
        attempt: int | None,
        attempt_id: str | None,
        stream: str,
        on_change: Callable[[], None],
    ) -> None:
        self.document = Document()
        self.run, self.job, self.attempt, self.attempt_id, self.stream = run, job, attempt, attempt_id, stream
        self.problem = ""  # the reason why the log can't be shown at present
        self._feed = feed
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: set[int] = set()
        self._times = LogTimes()

    def open(self) -> None:
        """Starts at the log's end."""
        if self.attempt_id is not None:
            self._feed.follow_log(self.attempt_id, self._arrive)
        self._start(self._poll())

    def close(self) -> None:
        """Stops following and fetching."""
        if self.attempt_id is not None:
            self._feed.unfollow_log(self.attempt_id)
        for task in self._tasks:
            task.cancel()

    def look(self, top: int, height: int) -> None:
        """Fetches the missing rows from `top` on."""
        for index in self.document.wanted(top, height):
            if index not in self._loading:
                self._loading.add(index)
                self._start(self._load(index))

    def read_at(self, position: Position) -> float | None:
        """The time at which a loaded line's first byte was read by the worker; None: unknown."""
        return self._times.at(self.document.offset_of(position))

    def last_read_at(self) -> float | None:
        """The time at which the log's last byte was read; None: unknown."""
        return self._times.at(self.document.size)

    async def search(self, search: Search, first: int) -> None:
        """Searches the whole log, from page `first` on with wrap-around; to be repeated when the log has grown."""
        document = self.document

        def left(index: int) -> bool:
            start, end = document.extent(index)
            return search.searched(index) < end - start

        order = [*range(first, document.page_count), *range(min(first, document.page_count))]
        async for index in self._visit([index for index in order if left(index)]):
            start, end = document.extent(index)
            search.take(index, end - start, document.text_of(index))
            self._on_change()

    async def first_error(self) -> Position | None:
        """The first line of the log that looks like an error."""
        async for index in self._visit(list(range(self.document.page_count))):
            if (found := self.document.first_error(index)) is not None:
                return found
        return None

    async def write(self, file: BinaryIO) -> int:
        """Writes the log's current content to a file; returns its size."""
        offset = 0
        while True:
            reply, data = await self._get(offset, CHUNK_BYTES)
            file.write(data)
            offset += len(data)
            if not data or offset >= reply.size:
                return offset

    # fetching

    async def _get(self, offset: int, length: int, *, times: bool = False) -> tuple[m.LogData, bytes]:
        reply, data = await self._feed.request_payload(
            m.GetLog,
            run=self.run,
            job=self.job,
            attempt=self.attempt,
            stream=self.stream,
            offset=offset,
            length=length,
            times=times,
        )
        if not isinstance(reply, m.LogData):
            raise LongshoreError(f"the coordinator answered GetLog with {type(reply).__name__}")
        return reply, data

    async def _poll(self) -> None:
        """Fetches the log's size, at first and for as long as it may grow."""
        while not self.document.complete:
            try:
                reply, _ = await self._get(self.document.size, 0)
                self.problem = ""
                if reply.size != self.document.size or reply.complete or not self.document.is_known:
                    self._take_size(reply)
            except LongshoreError as error:
                self.problem = str(error)
            self._on_change()
            await asyncio.sleep(POLL)

    def _take_size(self, reply: m.LogData) -> None:
        if reply.size < self.document.size:  # the log was truncated to its limit: the known bytes are invalid
            self.document.restart()
            self._times.clear()
        self.document.set_size(reply.size, reply.complete)

    async def _load(self, index: int) -> None:
        try:
            await self._fetch(index)
            self.problem = ""
        except LongshoreError as error:
            self.problem = str(error)
            await asyncio.sleep(1)
        finally:
            self._loading.discard(index)
        self._on_change()

    async def _fetch(self, index: int, count: int = 1) -> None:
        """Loads pages, with the byte before them, which tells whether the first one begins a line."""
        start, end = self.document.extent(index)[0], self.document.extent(index + count - 1)[1]
        offset = max(0, start - 1)
        reply, data = await self._get(offset, end - offset, times=True)
        self._times.add(marks_of_pages(reply.times))
        for number in range(index, index + count):
            first, last = self.document.extent(number)
            before = data[first - 1 - offset : first - offset] if first else b""
            self.document.load(number, data[first - offset : last - offset], before)

    async def _visit(self, pages: list[int]) -> AsyncIterator[int]:
        """Yields complete pages in this order, fetching missing ones in few requests, some ahead of need."""
        runs: list[list[int]] = []
        for index in pages:
            if runs and runs[-1][-1] == index - 1 and len(runs[-1]) < PAGES_AT_ONCE:
                runs[-1].append(index)
            else:
                runs.append([index])
        ahead: deque[asyncio.Task[None]] = deque()
        try:
            for number, run in enumerate(runs):
                for later in runs[number + len(ahead) : number + REQUESTS_AHEAD]:
                    ahead.append(asyncio.ensure_future(self._have(later)))
                await ahead.popleft()
                for index in run:
                    if not self.document.is_whole(index):  # it has grown, or was unloaded
                        await self._fetch(index)
                    if self.document.is_whole(index):
                        yield index
                        await asyncio.sleep(0)
        finally:
            for task in ahead:
                task.cancel()

    async def _have(self, pages: list[int]) -> None:
        """Fetches consecutive pages, unless all are loaded."""
        if not all(self.document.is_whole(index) for index in pages):
            await self._fetch(pages[0], len(pages))

    # live events

    def _arrive(self, event: LogAppended, data: bytes) -> None:
        if event.stream != self.stream:
            return
        if data:
            self._times.add(decode(event.times, event.offset, len(data)))
            self.document.append(event.offset, data)
        if event.complete:
            self._start(self._finish())
        self._on_change()

    async def _finish(self) -> None:
        with contextlib.suppress(LongshoreError):
            reply, _ = await self._get(self.document.size, 0)
            self._take_size(reply)
            self._on_change()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
