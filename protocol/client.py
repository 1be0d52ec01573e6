"""A blocking client of a coordinator, for the CLI, the dashboard's requests and tests: its requests, by name.

See `client_session.py` for what a request is.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import uuid4

from protocol import messages as m
from protocol.addresses import reachable_feed
from protocol.client_session import RESEND_AFTER, ClientSession
from protocol.codec import encode
from protocol.errors import CoordinatorUnreachable
from protocol.events import STATE_TOPIC
from protocol.feed_subscription import Feed
from protocol.names import CHUNK_BYTES
from protocol.plan import Plan, Variable
from protocol.replies import IncomingBlob, expected, refusal
from protocol.variables import NOTHING
from protocol.views import EnvironmentView, ReleaseView, RunSummary, RunView, WorkerView
from protocol.workspace import GitWorkspace, Pack, Workspace

PIPELINE = 4
"""Pieces of an upload in flight: hides the round trip, as a worker's do."""
QUICK_ANSWER = 0.5
"""Seconds within which a piece is answered if the link can take another one."""


class Client(ClientSession):
    """A client of the coordinator at `address`. Errors: see `ClientSession`."""

    def another(self) -> Client:
        """A client of the same coordinator for another thread."""
        return Client(self.address, timeout=self.timeout, name=self.name, credentials=self._given)

    def drop(self, run: int, job: str | None = None) -> int:
        """Ends the kept containers of a run or a job; returns their number."""
        return self.request(m.Drop, m.Done, run=run, job=job).count

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
        self,
        run: int,
        job: str | None = None,
        *,
        failed_only: bool = False,
        inputs: Mapping[str, str] = NOTHING,
        workspace: Workspace | None = None,
        project: str = "",
    ) -> int:
        """Retries jobs that did not succeed, or one job with these inputs, and files of `project` in place of its
        run's; returns the number of jobs affected.
        """
        return self.request(
            m.Retry,
            m.Done,
            run=run,
            job=job,
            failed_only=failed_only,
            inputs=dict(inputs),
            workspace=workspace,
            project=project,
        ).count

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
        *,
        times: bool = False,
    ) -> tuple[m.LogData, bytes]:
        """A piece of a job's log; the answer's `complete` is false while the log may still grow beyond `size`."""
        reply, data = self.request_payload(
            m.GetLog, run=run, job=job, attempt=attempt, stream=stream, offset=offset, length=length, times=times
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
