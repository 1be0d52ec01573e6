"""Requests of the web server to its coordinator: from coroutines, through a few threads with a client each.

At most `MOST_WAITING` requests wait at a time; beyond, and while the coordinator does not answer, `Busy` tells a caller
to come back later.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError, NotLetIn
from protocol.keys import Credentials

THREADS = 8
"""Requests in flight: the coordinator writes those that arrive together in one transaction."""
MOST_WAITING = 256
REQUEST_SECONDS = 5.0
"""Time for an answer of the coordinator: forges wait for ours for 10 s or more."""

T = TypeVar("T")


class Busy(LongshoreError):
    """The coordinator can't take this now; the sender should repeat it in a moment."""


class Upstream:
    """The coordinator at `address`. `credentials` default to this user's."""

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        self.address = address
        self._credentials = credentials
        self._clients: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="coordinator")
        self._waiting = 0

    async def ask(self, question: Callable[[Client], T]) -> T:
        """The result of `question`, called in a thread with a client of its own for the time.

        Raises Busy, and what the question raises for requests that the coordinator refuses.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests wait for the coordinator already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)
        except NotLetIn:
            raise
        except CoordinatorUnreachable as error:
            raise Busy(str(error)) from error
        finally:
            self._waiting -= 1

    def _ask(self, question: Callable[[Client], T]) -> T:
        try:
            client = self._clients.get_nowait()
        except queue.Empty:
            client = Client(self.address, timeout=REQUEST_SECONDS, name="web", credentials=self._credentials)
        try:
            return question(client)
        finally:
            self._clients.put(client)

    def close(self) -> None:
        """Closes all connections, after running questions."""
        self._threads.shutdown()
        with contextlib.suppress(queue.Empty):
            while True:
                self._clients.get_nowait().close()
