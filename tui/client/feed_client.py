"""The Clone pattern's client: keeps the model in sync with the coordinator, and sends the screens' requests.

Runs on the application's asyncio loop and owns the `Connection`, whose thread does all waiting. Knows no widgets.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from protocol import messages as m
from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.events import LogAppended, log_topic
from protocol.feed_position import Verdict
from protocol.replies import IncomingBlob, expected, refusal
from tui.client.connection import Answer, Connected, Connection, ConnectionEvent, EventReceived, Lost, Refused
from tui.client.model import SNAPSHOT_RUNS, ConnectionState, Model

REQUEST_TIMEOUT = 10.0
"""Total seconds for a request, including a restart of the coordinator."""
RESYNC_PAUSE = 0.25
"""Seconds between two snapshot requests if the first one was outdated."""
WAITING_LOG_BYTES = 8 << 20
"""Log bytes queued for the loop; more are dropped here and fetched later, when the viewer sees the gap in offsets."""

R = TypeVar("R", bound=m.Message)
LogListener = Callable[[LogAppended, bytes], None]


class FeedClient:
    """Follows the coordinator at `address` into `model`, indefinitely.

    `on_change` is called on the loop after each change of the model and must be quick. Requests raise
    CoordinatorUnreachable, UsageError (rejected by the coordinator) or LongshoreError.
    """

    def __init__(self, address: str, model: Model, on_change: Callable[[], None]) -> None:
        self.address = address
        self.model = model
        self._on_change = on_change
        self._link = Connection(address, self._arrive)
        self._ids = itertools.count(1)
        self._futures: dict[int, asyncio.Future[tuple[m.Message, bytes]]] = {}
        self._listeners: dict[str, LogListener] = {}
        self._watched: int | None = None
        self._resync_task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._arrived: list[ConnectionEvent] = []
        self._waiting_log_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.copy_context()  # the loop's context, set by `start`: a thread's callbacks have none

    def start(self) -> None:
        """Starts connecting; must be called on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._link.start()

    async def stop(self) -> None:
        """Closes the connection; unanswered requests fail."""
        self._loop = None
        if self._resync_task is not None:
            self._resync_task.cancel()
        await asyncio.to_thread(self._link.stop)
        for future in self._futures.values():
            future.cancel()

    # requests

    async def request_payload(
        self, kind: type[m.Message], payload: bytes | None = None, **fields: Any
    ) -> tuple[m.Message, bytes]:
        """Sends a request; returns the answer and its payload."""
        request_id = next(self._ids)
        future: asyncio.Future[tuple[m.Message, bytes]] = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future
        self._link.send(request_id, kind(id=request_id, **fields), payload)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                reply, data = await future
        except TimeoutError:
            raise CoordinatorUnreachable(f"no answer from {self.address}") from None
        finally:
            self._futures.pop(request_id, None)
            if not future.done() or future.cancelled():
                self._link.forget(request_id)
        if isinstance(reply, m.Error):
            raise refusal(reply)
        return reply, data

    async def request(self, kind: type[m.Message], expect: type[R], **fields: Any) -> R:
        """`request_payload` for answers without payload; checks the answer's type."""
        reply, _ = await self.request_payload(kind, **fields)
        return expected(reply, expect, kind, self.address)

    async def download(self, digest: str, path: Path) -> int:
        """Downloads a blob to `path`; returns its size. Raises LongshoreError if it is corrupt."""
        with IncomingBlob(digest, path, self.address) as blob:
            while not blob.complete:
                blob.take(*await self.request_payload(m.BlobGet, **blob.next_piece()))
        return blob.size or 0

    # subscriptions

    async def watch_run(self, run: int) -> None:
        """Loads a run in full into the model and keeps it current, until another one is watched."""
        self._watched = run
        snapshot = await self.request(m.GetSnapshot, m.Snapshot, runs=0, run=run)
        if self._watched != run:
            return
        if self.model.load_detail(snapshot) is Verdict.GAP:
            self._resync()
        self._on_change()

    def unwatch_run(self) -> None:
        """Stops watching a run."""
        self._watched = None
        self.model.drop_detail()

    def follow_log(self, attempt: str, listener: LogListener) -> None:
        """Passes the attempt's log bytes to `listener` as they are stored; offsets reveal gaps."""
        self._listeners[attempt] = listener
        self._link.subscribe(log_topic(attempt))

    def unfollow_log(self, attempt: str) -> None:
        """Stops following that log."""
        if self._listeners.pop(attempt, None) is not None:
            self._link.unsubscribe(log_topic(attempt))

    # delivery: first on the connection's thread, then on the loop

    def _arrive(self, items: list[ConnectionEvent]) -> None:
        loop = self._loop
        if loop is None:
            return
        with self._lock:
            wake = not self._arrived
            for item in items:
                if isinstance(item, EventReceived) and item.payload:
                    if self._waiting_log_bytes > WAITING_LOG_BYTES:
                        continue
                    self._waiting_log_bytes += len(item.payload)
                self._arrived.append(item)
        if wake:
            try:
                loop.call_soon_threadsafe(self._take, context=self._context)
            except RuntimeError:  # the loop was closed in the meantime
                self._loop = None

    def _take(self) -> None:
        with self._lock:
            items, self._arrived, self._waiting_log_bytes = self._arrived, [], 0
        version = self.model.version
        for item in items:
            match item:
                case Answer(message, payload):
                    future = self._futures.get(getattr(message, "id", 0))
                    if future is not None and not future.done():
                        future.set_result((message, bytes(payload)))
                case EventReceived(event, payload):
                    self._take_event(event, payload)
                case Connected(welcome):
                    self._joined(welcome)
                case Refused(why):
                    if self.model.connection is not ConnectionState.REFUSED:
                        self.model.set_connection(ConnectionState.REFUSED, time.time(), why)
                case Lost(why):
                    self.model.set_connection(ConnectionState.RECONNECTING, time.time(), f"connection lost: {why}")
        if self.model.version != version:
            self._on_change()

    def _take_event(self, event: Any, payload: bytes | memoryview) -> None:
        if isinstance(event, LogAppended):
            listener = self._listeners.get(event.attempt)
            if listener is not None:
                listener(event, bytes(payload))
        elif self.model.apply(event, time.time()) is Verdict.GAP:
            self._resync()

    def _joined(self, welcome: m.Welcome) -> None:
        known = self.model.epoch
        if known and known != welcome.epoch:
            note = "connected: the coordinator has restarted"
        else:
            note = "connected again" if known else f"connected to {self.address}"
        self.model.set_connection(ConnectionState.ONLINE, time.time(), note)
        self._resync()

    def _resync(self) -> None:
        if self._resync_task is None or self._resync_task.done():
            self._resync_task = asyncio.get_running_loop().create_task(self._load_snapshot())

    async def _load_snapshot(self) -> None:
        """Requests snapshots until one matches the received events."""
        while True:
            try:
                snapshot = await self.request(m.GetSnapshot, m.Snapshot, runs=SNAPSHOT_RUNS, run=self._watched)
            except UsageError:  # the watched run was removed in the meantime
                self._watched = None
                continue
            except LongshoreError:
                if self.model.connection is not ConnectionState.ONLINE:
                    return  # the next session starts with a snapshot anyway
                await asyncio.sleep(RESYNC_PAUSE)
                continue
            verdict = self.model.load_snapshot(snapshot, time.time())
            self._on_change()
            if verdict is Verdict.APPLIED:
                return
            await asyncio.sleep(RESYNC_PAUSE)
