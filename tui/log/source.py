"""Fills a document with one log of the coordinator: pages when they are looked at, live bytes as they come.

Lives on the application's loop. The document may be opened at its end, read backwards, jumped about in, while the log
goes on growing; whatever was missed (a slow link, a restart of the coordinator) is seen by its size and fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import BinaryIO

from protocol import messages as m
from protocol.errors import LongshoreError
from protocol.events import LogAppended
from protocol.names import CHUNK_BYTES
from tui.client.feed_client import FeedClient
from tui.log.document import Document, Position
from tui.log.search import Search

PAGES_AT_ONCE = 3
"""Pages in one request of a search: what fits into the largest answer, with the byte before them."""
REQUESTS_AHEAD = 3
POLL = 3.0
"""Seconds between two looks at the size of a log that still grows, in case its last bytes were missed on the feed."""
ARRIVAL_GRAIN = 0.25
"""Seconds that lines have to be apart for their times of arrival to differ."""


class LogSource:
    """One stream of one attempt's log. `on_change` is called whenever the document has changed.

    `attempt` is the attempt's number, `attempt_id` its name on the feed; both None if the job was not tried yet.
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
        self.problem = ""  # why the log can't be shown at the moment
        self._feed = feed
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: set[int] = set()
        self._arrivals: list[tuple[int, float]] = []  # offsets, and when the bytes from there on came

    def open(self) -> None:
        """Begins with the log's end."""
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
        """Fetches what is missing of the rows from `top` on."""
        for index in self.document.wanted(top, height):
            if index not in self._loading:
                self._loading.add(index)
                self._start(self._load(index))

    def arrived_at(self, position: Position) -> float | None:
        """When a line came, if it came while we watched."""
        at = bisect_right(self._arrivals, (self.document.offset_of(position), float("inf"))) - 1
        return self._arrivals[at][1] if at >= 0 else None

    async def search(self, search: Search, first: int) -> None:
        """Searches the whole log, from page `first` on and around; call it again when the log has grown."""
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
        """Writes the log, as far as it goes now, to a file; gives its size."""
        offset = 0
        while True:
            reply, data = await self._get(offset, CHUNK_BYTES)
            file.write(data)
            offset += len(data)
            if not data or offset >= reply.size:
                return offset

    # fetching

    async def _get(self, offset: int, length: int) -> tuple[m.LogData, bytes]:
        reply, data = await self._feed.request_payload(
            m.GetLog,
            run=self.run,
            job=self.job,
            attempt=self.attempt,
            stream=self.stream,
            offset=offset,
            length=length,
        )
        if not isinstance(reply, m.LogData):
            raise LongshoreError(f"the coordinator answered GetLog with {type(reply).__name__}")
        return reply, data

    async def _poll(self) -> None:
        """Learns the log's size, at first and for as long as it may grow."""
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
        if reply.size < self.document.size:  # the log was cut to its limit: what is known of it is no more true
            self.document.restart()
            self._arrivals.clear()
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
        """Loads pages, with the byte before them: that tells whether the first begins with a line."""
        start, end = self.document.extent(index)[0], self.document.extent(index + count - 1)[1]
        offset = max(0, start - 1)
        _, data = await self._get(offset, end - offset)
        for number in range(index, index + count):
            first, last = self.document.extent(number)
            before = data[first - 1 - offset : first - offset] if first else b""
            self.document.load(number, data[first - offset : last - offset], before)

    async def _visit(self, pages: list[int]) -> AsyncIterator[int]:
        """Gives pages in this order, whole, fetching what is missing in few requests, some ahead of need."""
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
                    if not self.document.is_whole(index):  # it has grown, or was let go of again
                        await self._fetch(index)
                    if self.document.is_whole(index):
                        yield index
                        await asyncio.sleep(0)
        finally:
            for task in ahead:
                task.cancel()

    async def _have(self, pages: list[int]) -> None:
        """Fetches pages that follow each other, unless they are all here."""
        if not all(self.document.is_whole(index) for index in pages):
            await self._fetch(pages[0], len(pages))

    # what comes by itself

    def _arrive(self, event: LogAppended, data: bytes) -> None:
        if event.stream != self.stream:
            return
        if data:
            now = time.time()
            if not self._arrivals or now - self._arrivals[-1][1] > ARRIVAL_GRAIN:
                self._arrivals.append((event.offset, now))
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
