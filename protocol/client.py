"""A blocking client of a coordinator, for the CLI, the dashboard's requests and tests.

Requests have an id and a deadline. An unanswered request is resent, which is safe for every request of the protocol
(see SubmitRun.token), so a coordinator's restart goes unnoticed. One thread per client.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import time
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import zmq

from protocol import PROTOCOL_VERSION, admin
from protocol import messages as m
from protocol.addresses import reachable_feed
from protocol.codec import decode_event, decode_for_client, each_event, encode
from protocol.dealer import Dealer, connect_socket
from protocol.errors import CoordinatorUnreachable, LongshoreError, NotLetIn, ProtocolError, UsageError
from protocol.events import STATE_TOPIC, AnyEvent
from protocol.keys import Credentials
from protocol.names import CHUNK_BYTES
from protocol.plan import Plan, Variable
from protocol.replies import IncomingBlob, expected, refusal
from protocol.variables import NOTHING
from protocol.views import EnvironmentView, ReleaseView, RunSummary, RunView, WorkerView
from protocol.workspace import GitWorkspace, Pack, Workspace

RESEND_AFTER = 2.0
"""Seconds without an answer after which a request is resent."""
LET_IN_PAUSE = 0.3
"""Seconds within which a starting coordinator publishes its credentials."""
PIPELINE = 4
"""Pieces of an upload in flight: hides the round trip, as a worker's do."""
QUICK_ANSWER = 0.5
"""Seconds within which a piece is answered if the link can take another one."""
FEED_BACKLOG = 100_000
"""Events queued for a slow reader before some are lost, which it detects by their numbers."""

R = TypeVar("R", bound=m.Message)


class Client:
    """A client of the coordinator at `address`; `timeout` is the total time for a request, in seconds.

    Raises CoordinatorUnreachable if the coordinator does not answer, UsageError for errors caused by the caller,
    LongshoreError for requests that it can't serve now.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 10.0,
        name: str = "",
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.name = name
        self._context = context or zmq.Context.instance()
        self._given = credentials
        self._open()
        self._ids = itertools.count(1)
        self._welcome: m.Welcome | None = None

    def _open(self) -> None:
        self._dealer = Dealer(self._context, self.address, self._given)
        self._socket = self._dealer.socket
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._dealer.monitor, zmq.POLLIN)

    def another(self) -> Client:
        """A client of the same coordinator for another thread."""
        return Client(self.address, timeout=self.timeout, name=self.name, credentials=self._given)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the socket; unanswered requests are dropped."""
        self._dealer.close()

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The connection, for an owner that goes on with it by itself."""
        return self._socket

    def drop(self, run: int, job: str | None = None) -> int:
        """Ends the kept containers of a run or a job; returns their number."""
        return self.request(m.Drop, m.Done, run=run, job=job).count

    @property
    def welcome(self) -> m.Welcome:
        """The coordinator's welcome on first contact."""
        if self._welcome is None:
            self._introduce(time.monotonic() + self.timeout)
        assert self._welcome is not None
        return self._welcome

    def _introduce(self, deadline: float) -> None:
        request = m.ClientHello(id=next(self._ids), protocol=PROTOCOL_VERSION, name=self.name)
        reply, _ = self._exchange(request, None, deadline)
        if not isinstance(reply, m.Welcome):
            raise LongshoreError(f"{self.address} answered a hello with {type(reply).__name__}")
        self._welcome = reply

    def _exchange(
        self, request: m.Message, payload: bytes | memoryview | None, deadline: float
    ) -> tuple[m.Message, bytes | memoryview]:
        frames = encode(request, payload)
        id, greets = getattr(request, "id", None), isinstance(request, m.ClientHello)
        while True:
            sent = self._send(frames, deadline)
            resend_at = min(deadline, time.monotonic() + RESEND_AFTER)
            while sent and (left := resend_at - time.monotonic()) > 0:
                if not self._await(zmq.POLLIN, left):
                    break
                reply, data = decode_for_client(self._socket.recv_multipart())
                if isinstance(reply, m.Welcome) if greets else getattr(reply, "id", None) == id:
                    return reply, data
                if greets and isinstance(reply, m.Error) and reply.id in (None, id):  # not to an earlier request
                    return reply, data
            if time.monotonic() >= deadline:
                raise CoordinatorUnreachable(
                    f"no coordinator answers at {self.address}; is `longshore coordinator` (or `longshore up`) running "
                    "there?"
                )

    def _send(self, frames: list[bytes | memoryview], deadline: float) -> bool:
        """Sends frames. Returns False if the coordinator did not take them by the deadline. Raises NotLetIn."""
        while True:
            try:
                self._socket.send_multipart(frames, zmq.DONTWAIT)
                return True
            except zmq.Again:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._await(zmq.POLLOUT, left)

    def _await(self, event: int, seconds: float) -> bool:
        """Waits until the socket is readable or writable; False after a timeout. Raises NotLetIn for an unknown key."""
        self._poller.register(self._socket, event)
        ready = dict(self._poller.poll(math.ceil(max(0.0, seconds) * 1000)))
        if self._socket in ready:
            return True
        if self._dealer.monitor in ready:
            refused = self._dealer
            self.close()
            time.sleep(LET_IN_PAUSE)
            self._open()  # ZeroMQ itself would never retry, and newer credentials may exist by now
            if self._dealer.credentials == refused.credentials:
                raise NotLetIn(refused.refusal())
        return False

    def request_payload(
        self, kind: type[m.Message], payload: bytes | memoryview | None = None, **fields: Any
    ) -> tuple[m.Message, bytes | memoryview]:
        """Sends a request and waits for its answer. Returns the answer and its payload (b"" if it has none)."""
        deadline = time.monotonic() + self.timeout
        if self._welcome is None:
            self._introduce(deadline)
        request = kind(id=next(self._ids), **fields)
        while True:
            try:
                reply, data = self._exchange(request, payload, deadline)
            except ProtocolError as error:
                raise LongshoreError(f"{self.address} speaks another protocol: {error}") from error
            if not isinstance(reply, m.Error):
                return reply, data
            if reply.code == "not_introduced":
                self._introduce(deadline)
                continue
            raise refusal(reply)

    def request(self, kind: type[m.Message], expect: type[R], **fields: Any) -> R:
        """Like `request_payload`, for requests without payload; checks the answer's type."""
        reply, _ = self.request_payload(kind, **fields)
        return expected(reply, expect, kind, self.address)

    def enrol(self, secret: str, name: str) -> admin.Enrolled:
        """Enrols this client's key under a name, with a join token's secret."""
        request = admin.Enrol(id=next(self._ids), secret=secret, name=name)
        reply, _ = self._exchange(request, None, time.monotonic() + self.timeout)
        if isinstance(reply, m.Error):
            raise UsageError(reply.message)
        return expected(reply, admin.Enrolled, admin.Enrol, self.address)

    # runs

    def submit_run(
        self,
        plan: Plan,
        workspace: Workspace | None = None,
        source: m.Source | None = None,
        token: str | None = None,
        projects: list[m.Origin] | None = None,
    ) -> int:
        """Starts a run and returns its id; the run is durable then."""
        return self.request(
            m.SubmitRun,
            m.RunSubmitted,
            token=token or uuid4().hex,
            plan=plan,
            workspace=workspace,
            source=source or m.Source(),
            projects=projects or [],
        ).run

    def workspaces(self, project: str) -> list[GitWorkspace]:
        """The newest git workspaces of a project, for a new one to build on."""
        return self.request(m.GetWorkspaces, m.Workspaces, project=project).workspaces

    def list_runs(
        self, limit: int = 100, before: int | None = None, only: m.RunFilter | None = None
    ) -> list[RunSummary]:
        """Runs, newest first, with ids below `before` if given; with `only`, those that it selects."""
        return self.request(m.ListRuns, m.RunList, limit=limit, before=before, only=only or m.RunFilter()).runs

    def get_run(self, run: int) -> RunView:
        """One run with its stages and jobs."""
        return self.request(m.GetRun, m.RunDetail, run=run).run

    def get_job(self, run: int, job: str) -> m.JobDetail:
        """One job's plan, attempts and story."""
        return self.request(m.GetJob, m.JobDetail, run=run, job=job)

    def cancel(self, run: int, job: str | None = None) -> int:
        """Cancels a run or one job; returns the number of jobs affected."""
        return self.request(m.Cancel, m.Done, run=run, job=job).count

    def retry(
        self, run: int, job: str | None = None, *, failed_only: bool = False, inputs: Mapping[str, str] = NOTHING
    ) -> int:
        """Retries jobs that did not succeed, or one job with these inputs; returns the number of jobs affected."""
        return self.request(m.Retry, m.Done, run=run, job=job, failed_only=failed_only, inputs=dict(inputs)).count

    def play(
        self, run: int, job: str, variables: list[Variable] | None = None, inputs: Mapping[str, str] = NOTHING
    ) -> int:
        """Starts a manual or delayed job."""
        return self.request(m.Play, m.Done, run=run, job=job, variables=variables or [], inputs=dict(inputs)).count

    def get_log(
        self,
        run: int,
        job: str,
        attempt: int | None = None,
        stream: str = "job",
        offset: int = 0,
        length: int = CHUNK_BYTES,
    ) -> tuple[m.LogData, bytes]:
        """A piece of a job's log; the answer's `complete` is false while the log may still grow beyond `size`."""
        reply, data = self.request_payload(
            m.GetLog, run=run, job=job, attempt=attempt, stream=stream, offset=offset, length=length
        )
        return expected(reply, m.LogData, m.GetLog, self.address), bytes(data)

    # environments and releases

    def environments(self, project: str | None = None) -> list[EnvironmentView]:
        """All environments, or those of a project, the latest deployment first; at most 1000."""
        return self.request(m.ListEnvironments, m.EnvironmentList, project=project).environments

    def stop_environment(self, name: str, project: str | None = None) -> int:
        """Stops an environment; returns the number of jobs that do so, 0 if it is stopped already."""
        return self.request(m.StopEnvironment, m.Done, name=name, project=project).count

    def releases(self, project: str | None = None, limit: int = 100) -> list[ReleaseView]:
        """All releases, or those of a project, newest first."""
        return self.request(m.ListReleases, m.ReleaseList, project=project, limit=limit).releases

    # tests

    def test_results(
        self,
        project: str | None = None,
        ref: str | None = None,
        job: str | None = None,
        before: int | None = None,
    ) -> m.TestResultList:
        """The results of tests of the newest jobs that have any, with ids below `before` if given."""
        return self.request(m.ListTestResults, m.TestResultList, project=project, ref=ref, job=job, before=before)

    # workers

    def workers(self) -> list[WorkerView]:
        """All known workers."""
        return self.request(m.ListWorkers, m.WorkerList).workers

    def gone_workers(self, workers: list[str]) -> list[str]:
        """Those of the named workers that are gone for good."""
        asked = workers[: m.MOST_WORKERS_ASKED]
        return self.request(m.GetGoneWorkers, m.GoneWorkers, workers=asked).workers

    def drain(self, worker: str, on: bool = True) -> int:
        """Starts or ends draining a worker."""
        return self.request(m.DrainWorker, m.Done, worker=worker, on=on).count

    # state and files

    def snapshot(self, runs: int = 200, run: int | None = None) -> m.Snapshot:
        """The state to which the feed's events apply; subscribe first."""
        return self.request(m.GetSnapshot, m.Snapshot, runs=runs, run=run)

    def upload(self, path: Path, digest: str | None = None) -> tuple[str, int]:
        """Uploads a file as a blob, unless the coordinator already has it. Returns its digest and size."""
        with path.open("rb") as file:
            if digest is None:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
            state = self._put(digest, size, 0, b"")
            while not state.complete:
                state = self._put_pieces(file.fileno(), state, digest, size)
        return digest, size

    def missing_blobs(self, blobs: Iterable[Pack]) -> list[Pack]:
        """Those of the blobs that the coordinator lacks; it keeps the others for a while, for a run to refer to."""
        if self._welcome is None:
            self._introduce(time.monotonic() + self.timeout)
        asked: dict[int, Pack] = {}
        for blob in blobs:
            request = m.BlobPut(id=next(self._ids), digest=blob.digest, size=blob.size, offset=0)
            self._send(encode(request, b""), time.monotonic() + self.timeout)
            asked[request.id] = blob
        missing: list[Pack] = []
        while asked:
            reply = self._answer_to(asked, RESEND_AFTER)
            if not isinstance(reply, m.BlobState):  # lost, or refused: one by one
                return missing + [
                    blob for blob in asked.values() if not self._put(blob.digest, blob.size, 0, b"").complete
                ]
            blob = asked.pop(reply.id)
            if not reply.complete:
                missing.append(blob)
        return missing

    def _put_pieces(self, descriptor: int, state: m.BlobState, digest: str, size: int) -> m.BlobState:
        """Sends pieces from the coordinator's offset, several at a time, until it has all or some were lost.

        A slow link gets one at a time, so that none is taken for lost.
        """
        sent, window = state.received, 1
        flying: dict[int, tuple[int, float]] = {}  # by request: the offset behind the piece, and the time
        while not state.complete and (flying or sent < size):
            while len(flying) < window and sent < size:
                piece = os.pread(descriptor, CHUNK_BYTES, sent)
                request = m.BlobPut(id=next(self._ids), digest=digest, size=size, offset=sent)
                if not self._send(encode(request, piece), time.monotonic() + self.timeout):
                    break
                sent += len(piece)
                flying[request.id] = sent, time.monotonic()
            reply = self._answer_to(flying, RESEND_AFTER)
            if isinstance(reply, m.Error) and reply.code != "not_introduced":
                raise refusal(reply)
            if not isinstance(reply, m.BlobState):
                break
            behind, since = flying.pop(reply.id)
            if reply.received != behind and not reply.complete:
                break
            state = reply
            window = min(window + 1, PIPELINE) if time.monotonic() - since < QUICK_ANSWER else 1
        return state if state.complete else self._put(digest, size, 0, b"")

    def _answer_to(self, ids: Container[int], seconds: float) -> m.Message | None:
        """The next answer to one of these requests; None after a timeout."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._await(zmq.POLLIN, left):
            reply, _ = decode_for_client(self._socket.recv_multipart())
            if getattr(reply, "id", None) in ids:
                return reply
        return None

    def _put(self, digest: str, size: int, offset: int, piece: bytes) -> m.BlobState:
        """Like `request`. The last answer comes after the verification of the whole blob, which may take longer than
        the client's timeout: a coordinator that still answers hellos is waited for.
        """
        while True:
            try:
                reply, _ = self.request_payload(m.BlobPut, piece, digest=digest, size=size, offset=offset)
                return expected(reply, m.BlobState, m.BlobPut, self.address)
            except CoordinatorUnreachable:
                self._introduce(time.monotonic() + self.timeout)

    def download(self, digest: str, path: Path) -> None:
        """Fetches a blob into `path`. Raises LongshoreError if its bytes do not match its digest."""
        with IncomingBlob(digest, path, self.address) as blob:
            while not blob.complete:
                blob.take(*self.request_payload(m.BlobGet, **blob.next_piece()))

    def feed(self, *, state: bool = True) -> Feed:
        """The coordinator's events from now on."""
        feed = Feed(self._context, reachable_feed(self.address, self.welcome.feed), self._dealer.credentials)
        if state:
            feed.subscribe(STATE_TOPIC)
        return feed


class Feed:
    """A subscription to a coordinator's feed; see protocol/events.py for gaps and epochs."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, credentials: Credentials | None = None
    ) -> None:
        self.address = address
        self._socket = connect_socket(context, zmq.SUB, address, receive_limit=FEED_BACKLOG, credentials=credentials)
        self._received: deque[Sequence[bytes | memoryview]] = deque()  # remaining events of a received frame

    def subscribe(self, topic: bytes) -> None:
        """Adds a topic: STATE_TOPIC or `log_topic(attempt)`."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Removes a topic."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    def receive(self, timeout: float) -> tuple[AnyEvent, bytes | memoryview] | None:
        """The next event and its payload, or None after `timeout` seconds without one."""
        if not self._received:
            if not self._socket.poll(math.ceil(timeout * 1000)):
                return None
            _, *frames = self._socket.recv_multipart()
            self._received.extend(each_event(frames))
        return decode_event(self._received.popleft())

    def close(self) -> None:
        """Ends the subscription."""
        self._socket.close()
