"""Connects a log pane to the coordinator: opens, closes, repaints and searches logs."""

from __future__ import annotations

import asyncio

from protocol.errors import LongshoreError
from protocol.views import JobView
from tui.client.feed_client import FeedClient
from tui.log.search import Search
from tui.log.source import LogSource
from tui.widgets.coalescer import Coalescer
from tui.widgets.log_pane import LogPane


class LogController:
    """Shows one log at a time in `pane`. Must be closed with the pane."""

    def __init__(self, feed: FeedClient, pane: LogPane) -> None:
        self.source: LogSource | None = None
        self._feed = feed
        self._pane = pane
        self._changed = Coalescer(pane.screen, self._sync)  # not the pane, which would stop its children's messages
        self._searching: asyncio.Task[None] | None = None

    def open(self, run: int, job: JobView, *, attempt: int | None, stream: str = "job") -> bool:
        """Opens an attempt's log; returns whether that differs from the current one."""
        attempt_id = f"{job.id}.{attempt}" if attempt else None
        source = self.source
        if source is not None and (source.run, source.job, source.attempt_id, source.stream) == (
            run,
            job.name,
            attempt_id,
            stream,
        ):
            return False
        self.close()
        self.source = LogSource(
            self._feed,
            run,
            job.name,
            attempt=attempt,
            attempt_id=attempt_id,
            stream=stream,
            on_change=self._changed.poke,
        )
        self._pane.problem = self._pane.busy = ""
        self._pane.view.open(self.source.document, self.source)
        self._pane.show_status()
        if attempt_id is not None:
            self.source.open()
        else:
            self.source.document.set_size(0, False)
        return True

    def close(self) -> None:
        """Closes the log."""
        self._stop_searching()
        if self.source is not None:
            self.source.close()
            self.source = None

    def look(self, top: int, height: int) -> None:
        """Fetches the visible rows."""
        if self.source is not None:
            self.source.look(top, height)

    def search(self, text: str) -> None:
        """Searches for a text from now on; an empty one ends the search."""
        self._stop_searching()
        self._pane.look_for(Search(text) if text else None)
        self._search_on()

    def _sync(self) -> None:
        """Repaints the log after changes, at most once per frame."""
        pane = self._pane
        if not pane.is_mounted or self.source is None:
            return
        pane.problem = self.source.problem
        pane.sync()
        search = pane.view.search
        if search is not None:
            if pane.view.found is None and search.count:
                pane.jump()
            self._search_on()

    def _stop_searching(self) -> None:
        if self._searching is not None:
            self._searching.cancel()
            self._searching = None
        self._pane.busy = ""

    def _search_on(self) -> None:
        """Searches the rest of the log in the background."""
        pane, source = self._pane, self.source
        search = pane.view.search
        if search is None or source is None or (self._searching is not None and not self._searching.done()):
            return
        document = source.document
        extents = [document.extent(index) for index in range(document.page_count)]
        if all(search.searched(index) >= end - start for index, (start, end) in enumerate(extents)):
            return

        async def run() -> None:
            pane.busy = "searching ..."
            try:
                await source.search(search, pane.view.top.page if document.rows else 0)
            except LongshoreError as error:
                source.problem = str(error)
            pane.busy = ""
            pane.show_status()

        self._searching = asyncio.get_running_loop().create_task(run())
