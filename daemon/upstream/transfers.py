"""Transfers blobs between the coordinator and this worker's cache, several pieces at a time. Called by job threads.

Knows requests and the cache, but neither sockets nor Docker.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from daemon.executors.base import JobFailed
from daemon.upstream.blob_cache import BlobCache, Corrupt
from daemon.upstream.requests import Answer, Refused, Requests
from protocol import messages as m
from protocol.errors import reason_of
from protocol.names import CHUNK_BYTES
from protocol.statuses import FailureReason

PIPELINE = 16
"""Pieces in flight: hides the round trip, and bounds memory to PIPELINE times CHUNK_BYTES per transfer."""
UPLOAD_ROUNDS = 10
"""Restarts of an upload after lost pieces."""


class TransferAborted(Exception):
    """The transfer is no longer wanted."""


class Transfers:
    """A worker's transfers, for all its jobs; a blob that several jobs want at once is fetched once."""

    def __init__(self, requests: Requests, cache: BlobCache) -> None:
        self._requests = requests
        self.cache = cache
        self._locks: dict[str, tuple[Lock, int]] = {}
        self._guard = Lock()

    @contextmanager
    def _alone(self, digest: str) -> Iterator[None]:
        """Lets one thread of this process at a time fetch a digest."""
        with self._guard:
            lock, users = self._locks.get(digest, (Lock(), 0))
            self._locks[digest] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(digest)
                if users > 1:
                    self._locks[digest] = (lock, users - 1)

    def open(self, attempt: str) -> Transfer:
        """The transfers of one attempt."""
        return Transfer(self, self._requests, attempt)

    def fetch(self, transfer: Transfer, digest: str, size: int | None) -> Path:
        """The blob's file, pinned. Raises Refused, Corrupt, TransferAborted."""
        if path := self.cache.pin(transfer.attempt, digest, size):
            return path
        with self._alone(digest):
            return self.cache.pin(transfer.attempt, digest, size) or self._download(transfer, digest, size)

    def _download(self, transfer: Transfer, digest: str, size: int | None) -> Path:
        with self.cache.receive(digest) as partial:
            asked, done = 0, 0
            total = size or None  # unknown: the first answer carries it
            window: deque[Future[Answer]] = deque()
            while total is None or done < total:
                while len(window) < (PIPELINE if total is not None else 1) and (total is None or asked < total):
                    window.append(transfer.call(m.BlobGet, digest=digest, offset=asked, length=CHUNK_BYTES))
                    asked += CHUNK_BYTES
                reply, data = transfer.result(window.popleft())
                if not isinstance(reply, m.BlobData) or (size is not None and reply.size != size):
                    raise Corrupt(f"blob {digest} differs from its announcement: {reply}")
                total = reply.size
                if reply.offset != done or len(data) != min(CHUNK_BYTES, total - done):
                    raise Corrupt(f"blob {digest}: {len(data)} bytes at {reply.offset} instead of {done}")
                partial.write(data)
                done += len(data)
            return partial.pin(transfer.attempt)


class Transfer:
    """One attempt's transfers; `abort` (from any thread) ends them."""

    def __init__(self, transfers: Transfers, requests: Requests, attempt: str) -> None:
        self.attempt = attempt
        self._transfers = transfers
        self._requests = requests
        self._guard = Lock()
        self._open: set[Future[Answer]] = set()
        self._aborted = False

    def call(self, kind: type[m.Message], payload: bytes | None = None, **fields: Any) -> Future[Answer]:
        """One request of this attempt. Raises TransferAborted."""
        with self._guard:
            if self._aborted:
                raise TransferAborted
            future = self._requests.call(kind, payload, **fields)
            self._open.add(future)
            return future

    def result(self, future: Future[Answer]) -> Answer:
        """Waits for an answer without a time limit. Raises Refused, TransferAborted."""
        try:
            return future.result()
        except CancelledError:
            raise TransferAborted from None
        finally:
            with self._guard:
                self._open.discard(future)

    def abort(self) -> None:
        """Ends transfers in progress; new calls raise TransferAborted."""
        with self._guard:
            self._aborted = True
            pending = list(self._open)
        for future in pending:
            future.cancel()

    def scratch(self) -> Path:
        """Directory for files that are to be stored."""
        return self._transfers.cache.scratch(self.attempt)

    def checkout(self) -> Path:
        """Directory for what the attempt uses of the checkouts' store."""
        return self._transfers.cache.checkout(self.attempt)

    def drop(self, digest: str) -> None:
        """Removes a blob from the cache: it was put elsewhere."""
        self._transfers.cache.drop(self.attempt, digest)

    def close(self) -> None:
        """Releases all files."""
        self._transfers.cache.release(self.attempt)

    def workspace(self, digest: str, size: int) -> Path:
        """The file of a blob of the run's workspace. Raises JobFailed, TransferAborted."""
        try:
            return self._transfers.fetch(self, digest, size)
        except (Refused, Corrupt, OSError) as error:
            raise JobFailed(
                FailureReason.RUNNER_SYSTEM_FAILURE, f"the workspace can't be fetched: {reason_of(error)}"
            ) from error

    def artifact(self, job: str, digest: str, size: int) -> Path:
        """The file of a dependency's artifacts. Raises JobFailed, TransferAborted."""
        try:
            return self._transfers.fetch(self, digest, size)
        except Refused as error:
            message = f"the artifacts of job {job} no longer exist: {error}"
            raise JobFailed(FailureReason.MISSING_DEPENDENCY_FAILURE, message) from error
        except (Corrupt, OSError) as error:
            message = f"the artifacts of job {job} can't be fetched: {reason_of(error)}"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error

    def store(self, file: Path, digest: str = "") -> tuple[str, int]:
        """Uploads a file, unless the coordinator has it, and moves it into the cache: (digest, size).

        `file` must be on the cache's file system; `digest` is its sha256, if known. Raises JobFailed, TransferAborted.
        """
        try:
            with file.open("rb") as stream:
                digest = digest or hashlib.file_digest(stream, "sha256").hexdigest()
                size = os.fstat(stream.fileno()).st_size
                self._upload(stream.fileno(), digest, size)
            self._transfers.cache.adopt(self.attempt, digest, file)
        except (Refused, OSError) as error:
            message = f"{file.name} can't be stored: {reason_of(error)}"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
        return digest, size

    def _upload(self, descriptor: int, digest: str, size: int) -> None:
        """Sends from the coordinator's offset; an answer that lags means lost pieces: continues from there."""
        state = self._put(self.call(m.BlobPut, b"", digest=digest, size=size, offset=0))
        rounds = 0
        while not state.complete:
            sent = state.received
            rounds += 1
            if sent >= size or rounds > UPLOAD_ROUNDS:
                raise Refused("bad_request", f"the upload stalled at {sent} of {size} bytes")
            window: deque[Future[Answer]] = deque()
            expected: deque[int] = deque()
            while not state.complete and (window or sent < size):
                while len(window) < PIPELINE and sent < size:
                    piece = os.pread(descriptor, CHUNK_BYTES, sent)
                    window.append(self.call(m.BlobPut, piece, digest=digest, size=size, offset=sent))
                    sent += len(piece)
                    expected.append(sent)
                state = self._put(window.popleft())
                if state.received != expected.popleft():
                    sent = size  # drain the window, then restart from the coordinator's offset

    def _put(self, future: Future[Answer]) -> m.BlobState:
        reply, _ = self.result(future)
        if not isinstance(reply, m.BlobState):
            raise Refused("bad_frame", f"an upload was answered with {type(reply).__name__}")
        return reply
