"""Message handlers: call the engine, store log and blob bytes, queue replies.

One method per message type. Handlers send nothing: replies go into the turn's outbox and are sent after its commit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from coordinator.deliveries import Deliveries
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now, RunState
from coordinator.files.base import Blobs, Logs
from coordinator.projects import Projects
from coordinator.queries import Query, QueryQueue
from coordinator.relay import RELAYED, Relay
from coordinator.schedules import Schedules
from coordinator.security.limits import Limits
from coordinator.security.quota import Quota
from coordinator.store.base import RunStore
from coordinator.submission import Audit, Submission
from coordinator.transport.router import Peer, Router
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.log_times import LogPiece
from protocol.log_times import decode as decode_times
from protocol.names import WORKER_NAME

log = logging.getLogger(__name__)

MOST_SLOTS = 10_000
SERVICE_LOG_BYTES = 4 << 20
"""Limit of one service's log; a worker sends only its tail, a quarter of this."""
LOG_SLACK = 1000
"""Bytes allowed beyond a log's limit: for the line that reports the truncation."""
COMMANDS = (m.Cancel, m.Retry, m.Play, m.StopEnvironment, m.DrainWorker, m.Drop)
"""Requests that are not idempotent; a client's repeated request gets the first answer again."""
FOR_WORKERS = get_args(m.FromWorker)
FOR_CLIENTS = get_args(m.FromClient)
QUERIES = get_args(Query)

Payload = bytes | memoryview


class Outbox(msgspec.Struct):
    """A turn's outgoing messages besides the engine's frames. Replies are sent first, in order."""

    replies: list[tuple[bytes, m.Message, Payload | None]] = []
    log_acks: dict[tuple[bytes, str, str], None] = {}  # (route, attempt, stream), each once
    appended: list[tuple[str, str, LogPiece]] = []  # (attempt, stream, new bytes)

    def reply(self, route: bytes, message: m.Message, payload: Payload | None = None) -> None:
        """Queues a reply to the peer at `route`."""
        self.replies.append((route, message, payload))


class CoordinatorInfo(msgspec.Struct, frozen=True):
    """This coordinator's properties, as announced in a welcome."""

    coordinator: str
    epoch: str
    feed: str
    heartbeat: float


class Handlers:
    """Handles messages of workers and clients. Methods raise ProtocolError for requests that are refused."""

    def __init__(
        self,
        facts: CoordinatorInfo,
        router: Router,
        engine: Engine,
        store: RunStore,
        logs: Logs,
        blobs: Blobs,
        queries: QueryQueue,
        audit: Audit,
        limits: Limits,
        quota: Quota,
        projects: Projects,
        schedules: Schedules,
        deliveries: Deliveries,
    ) -> None:
        self._facts = facts
        self._router = router
        self._engine = engine
        self._store = store
        self._logs = logs
        self._blobs = blobs
        self._queries = queries
        self._audit = audit
        self._limits = limits
        self._quota = quota
        self._projects = projects
        self._schedules = schedules
        self._deliveries = deliveries
        self.submission = Submission(engine, store, blobs, limits, quota, audit, projects)
        self.relay = Relay(router, engine)
        self._uploads: dict[str, list[tuple[bytes, int]]] = {}  # digest -> (route, request id) awaiting verification
        self._by_type: dict[type[m.Message], Callable[..., None]] = {
            m.Heartbeat: self._heartbeat,
            m.JobStatus: self._job_status,
            m.JobStatuses: self._job_statuses,
            m.LogChunk: self._log_chunk,
            m.JobReturned: self._job_returned,
            m.GetJobExecution: self._get_job_execution,
            m.GetJobDependencies: self._get_job_dependencies,
            m.GetJobStatus: self._get_job_status,
            m.Goodbye: self._goodbye,
            m.SubmitRun: self._submit_run,
            m.AddTrigger: self._add_trigger,
            m.SettleTrigger: self._settle_trigger,
            m.RunSchedule: self._run_schedule,
            m.AdvanceSchedule: self._advance_schedule,
            m.SettleDelivery: self._settle_delivery,
            m.OpenCommand: self._open_command,
        }
        self._commands: dict[type[m.Message], Callable[..., m.Done]] = {
            m.Cancel: self._cancel,
            m.Retry: self._retry,
            m.Play: self._play,
            m.StopEnvironment: self._stop_environment,
            m.DrainWorker: self._drain_worker,
            m.Drop: self._drop,
        }

    def take(self, route: bytes, message: m.Message, payload: Payload, now: Now, outbox: Outbox) -> None:
        """Handles one message."""
        if isinstance(message, m.Hello):
            self._hello(route, message, now, outbox)
            return
        if self.take_stateless(route, message, payload, outbox):
            return
        peer = self.introduced(route, message)
        if peer.worker is not None:
            self._back_from_silence(peer)
            self._engine.worker_heard(peer.worker, now)
        if isinstance(message, COMMANDS):
            self._command(peer, message, now, outbox)
        else:
            self._by_type[type(message)](peer, message, payload, now, outbox)

    def take_stateless(self, route: bytes, message: m.Message, payload: Payload, outbox: Outbox) -> bool:
        """Handles messages that change neither engine nor database, even during a stall. Returns False for others."""
        if isinstance(message, m.ClientHello):
            _check_version(message.protocol)
            self._router.introduce_client(route)
            outbox.reply(route, self._welcome())
        elif isinstance(message, QUERIES):
            self.introduced(route, message)
            self._queries.add(route, message)
        elif isinstance(message, m.BlobPut):
            self.introduced(route, message)
            self._blob_put(route, message, payload, outbox)
        elif isinstance(message, RELAYED):
            self.relay.pass_on(self.introduced(route, message), message, payload, outbox.reply)
        else:
            return False
        return True

    def introduced(self, route: bytes, message: m.Message) -> Peer:
        """The sender of a message. Raises ProtocolError for an unknown peer, or a message of the other peer kind."""
        peer = self._router.peer(route)
        if peer is None:
            if name := self._router.superseded(route):
                raise ProtocolError("not_yours", f"worker {name!r} has a newer connection; do two share this name?")
            raise ProtocolError("not_introduced", "say hello first: this coordinator does not know this connection")
        if isinstance(message, FOR_CLIENTS if peer.worker is not None else FOR_WORKERS):
            kind = "a worker" if peer.worker is not None else "a client"
            raise ProtocolError("bad_request", f"{kind} can't send {type(message).__name__}")
        return peer

    def _back_from_silence(self, peer: Peer) -> None:
        """Makes an offline worker say hello again: its attempts may have been reassigned."""
        if not self._engine.workers()[worker_of(peer)].online:
            self._router.forget(peer)
            raise ProtocolError("not_introduced", "silent for too long: say hello again")

    def _welcome(self, *, session: str = "", keep: list[str] | None = None, draining: bool = False) -> m.Welcome:
        return m.Welcome(
            protocol=PROTOCOL_VERSION,
            coordinator=self._facts.coordinator,
            epoch=self._facts.epoch,
            feed=self._facts.feed,
            heartbeat=self._facts.heartbeat,
            session=session,
            keep=keep or [],
            draining=draining,
        )

    # workers

    def _hello(self, route: bytes, hello: m.Hello, now: Now, outbox: Outbox) -> None:
        _check_version(hello.protocol)
        if not WORKER_NAME.fullmatch(hello.name):
            raise ProtocolError("bad_field", f"bad worker name {hello.name[:100]!r}")
        if not 1 <= hello.slots <= MOST_SLOTS:
            raise ProtocolError("bad_field", f"a worker has 1 to {MOST_SLOTS} slots, not {hello.slots}")
        before = self._router.worker(hello.name)
        self._router.introduce_worker(route, hello.name)
        if before is not None and before.route != route:
            why = f"worker {hello.name} was restarted or lost its connection"
            self.relay.worker_gone(hello.name, why, outbox.reply)
        keep = self._engine.worker_hello(hello, now)
        log.info("connected; keeps %d of its %d attempts", len(keep), len(hello.attempts), extra={"worker": hello.name})
        draining = self._engine.workers()[hello.name].draining
        outbox.reply(route, self._welcome(session=hello.session, keep=keep, draining=draining))

    def _heartbeat(self, peer: Peer, message: m.Heartbeat, payload: Payload, now: Now, outbox: Outbox) -> None:
        self._engine.worker_heard(
            worker_of(peer), now, disk_low=message.disk_low, held=message.attempts, kept=message.kept
        )

    def _job_status(self, peer: Peer, message: m.JobStatus, payload: Payload, now: Now, outbox: Outbox) -> None:
        if message.artifacts and (project := self._engine.project_of(worker_of(peer), message.attempt)) is not None:
            for ref in message.artifacts:
                self._quota.name(project, ref.digest, self._blobs.size(ref.digest) or 0)
        stored = self._logs.size(message.attempt) if message.log_length else 0
        self._engine.job_status(worker_of(peer), message, stored, now)

    def _job_statuses(self, peer: Peer, message: m.JobStatuses, payload: Payload, now: Now, outbox: Outbox) -> None:
        if len(message.statuses) > m.MOST_STATUSES:
            raise ProtocolError("too_large", f"a message has at most {m.MOST_STATUSES} statuses")
        for status in message.statuses:
            self._job_status(peer, status, payload, now, outbox)

    def _log_chunk(self, peer: Peer, message: m.LogChunk, payload: Payload, now: Now, outbox: Outbox) -> None:
        if self._engine.holds(worker_of(peer), message.attempt) is None:
            outbox.reply(peer.route, m.DiscardAttempt(attempt=message.attempt))
            return
        self._check_log(worker_of(peer), message, message.offset + len(payload), now)
        try:
            marks = decode_times(message.times, message.offset, len(payload))
        except ValueError as error:
            raise ProtocolError("bad_field", str(error)) from error
        piece = self._logs.append(message.attempt, message.offset, payload, message.stream, marks)
        if piece.data:
            outbox.appended.append((message.attempt, message.stream, piece))
        outbox.log_acks[peer.route, message.attempt, message.stream] = None

    def _check_log(self, worker: str, message: m.LogChunk, end: int, now: Now) -> None:
        """Enforces log limits. Workers do so themselves, unless compromised or unaware of a limit lowered since.

        Raises ProtocolError. Fails the attempt if its result could never be accepted without the refused bytes.
        """
        if message.stream != "job":
            first = message.offset == 0 and self._logs.size(message.attempt, message.stream) == 0
            if first and len(self._logs.services(message.attempt)) >= self._engine.services(message.attempt):
                raise ProtocolError("bad_request", f"attempt {message.attempt} already has a log for every service")
            bound: int | None = SERVICE_LOG_BYTES
        else:
            bound = self._engine.log_bound(message.attempt)
        if bound is not None and end > bound + LOG_SLACK:
            if message.stream == "job":
                text = f"its log exceeds this coordinator's limit of {bound} bytes"
                self._engine.give_up(worker, message.attempt, text, now)
            raise ProtocolError("too_large", f"the {message.stream} log of {message.attempt} has at most {bound} bytes")

    def _job_returned(self, peer: Peer, message: m.JobReturned, payload: Payload, now: Now, outbox: Outbox) -> None:
        self._engine.job_returned(worker_of(peer), message, now)

    def _get_job_execution(
        self, peer: Peer, message: m.GetJobExecution, payload: Payload, now: Now, outbox: Outbox
    ) -> None:
        outbox.reply(peer.route, self._engine.get_job_execution(worker_of(peer), message))

    def _get_job_dependencies(
        self, peer: Peer, message: m.GetJobDependencies, payload: Payload, now: Now, outbox: Outbox
    ) -> None:
        outbox.reply(peer.route, self._engine.get_job_dependencies(worker_of(peer), message))

    def _get_job_status(self, peer: Peer, message: m.GetJobStatus, payload: Payload, now: Now, outbox: Outbox) -> None:
        reply = self._engine.get_job_status(worker_of(peer), message)
        attempt = self._engine.holds(worker_of(peer), message.attempt)
        if attempt is not None:
            size = self._logs.size(attempt.id)
            reply = msgspec.structs.replace(reply, log_offset=size, status_seq=attempt.status_seq)
        outbox.reply(peer.route, reply)

    def _goodbye(self, peer: Peer, message: m.Goodbye, payload: Payload, now: Now, outbox: Outbox) -> None:
        log.info("disconnecting", extra={"worker": peer.worker})
        self._engine.worker_goodbye(worker_of(peer), message, now)
        self.relay.worker_gone(worker_of(peer), f"worker {peer.worker} has stopped", outbox.reply)
        self._router.forget(peer)

    # clients

    def _submit_run(self, peer: Peer, message: m.SubmitRun, payload: Payload, now: Now, outbox: Outbox) -> None:
        reply = self.submission.submit(message, self._router.key_of(peer.route), now)
        outbox.reply(peer.route, reply)

    def _add_trigger(self, peer: Peer, message: m.AddTrigger, payload: Payload, now: Now, outbox: Outbox) -> None:
        outbox.reply(peer.route, self._projects.add_trigger(message, now))

    def _settle_trigger(self, peer: Peer, message: m.SettleTrigger, payload: Payload, now: Now, outbox: Outbox) -> None:
        reply = self._projects.settle_trigger(message, now)
        if reply.count and message.state == "refused":
            self._deliveries.refused(self._projects.trigger(message.trigger), message.reason, now)
        outbox.reply(peer.route, reply)

    def _run_schedule(self, peer: Peer, message: m.RunSchedule, payload: Payload, now: Now, outbox: Outbox) -> None:
        reply = self._schedules.run(message, now)
        if reply.outcome == "accepted":
            detail = f"trigger {reply.trigger}"
            self._audit(self._router.key_of(peer.route), now, "run schedule", f"schedule {message.schedule}", detail)
        outbox.reply(peer.route, reply)

    def _advance_schedule(
        self, peer: Peer, message: m.AdvanceSchedule, payload: Payload, now: Now, outbox: Outbox
    ) -> None:
        outbox.reply(peer.route, self._schedules.advance(message, now))

    def _settle_delivery(
        self, peer: Peer, message: m.SettleDelivery, payload: Payload, now: Now, outbox: Outbox
    ) -> None:
        outbox.reply(peer.route, self._deliveries.settle(message, now))

    def _command(self, peer: Peer, message: Any, now: Now, outbox: Outbox) -> None:
        """Executes a command once, however often it is sent."""
        answer = peer.last_answer
        if answer is None or answer.id != message.id:
            answer = peer.last_answer = self._commands[type(message)](message, now)
            self._audit(self._router.key_of(peer.route), now, *audit_entry(message))
        outbox.reply(peer.route, answer)

    def _cancel(self, message: m.Cancel, now: Now) -> m.Done:
        return self._engine.cancel(message, now)

    def _retry(self, message: m.Retry, now: Now) -> m.Done:
        if message.workspace is not None:
            self.submission.claim(message.project, message.workspace)
        done = self._engine.retry(message, now, finished=self.finished(message.run))
        if message.workspace is not None:
            self.submission.name(message.project, message.workspace)
        return done

    def _play(self, message: m.Play, now: Now) -> m.Done:
        return self._engine.play(message, now, finished=self.finished(message.run))

    def _stop_environment(self, message: m.StopEnvironment, now: Now) -> m.Done:
        environment = self._engine.environment(message.name, message.project)
        finished = self.finished(environment.deployment.run)
        return m.Done(id=message.id, count=self._engine.stop_environment(environment, now, finished=finished))

    def _drain_worker(self, message: m.DrainWorker, now: Now) -> m.Done:
        return self._engine.drain(message, now)

    def finished(self, id: int) -> dict[int, RunState]:
        """Those of a run and its ancestors that have ended, if the run itself has: they may continue with it."""
        found: dict[int, RunState] = {}
        wanted: int | None = id
        while wanted is not None and wanted not in self._engine.unfinished():
            run = self._store.load_run(wanted)
            if run is None:
                break
            found[wanted] = run
            wanted = run.parent.run if run.parent else None
        return found

    def _drop(self, message: m.Drop, now: Now) -> m.Done:
        return self._engine.drop(message, now)

    def _open_command(self, peer: Peer, message: m.OpenCommand, payload: Payload, now: Now, outbox: Outbox) -> None:
        if entry := self.relay.open(peer, message, now, outbox.reply):
            self._audit(self._router.key_of(peer.route), now, *entry)

    # blobs

    def _blob_put(self, route: bytes, message: m.BlobPut, payload: Payload, outbox: Outbox) -> None:
        self._limits.check_blob(message.size)
        stored = self._blobs.size(message.digest)
        if stored is None or stored < message.size:
            self._quota.put(self._router.key_of(route) or b"", message.digest, message.size, time.monotonic())
        received = self._blobs.put(message.digest, message.size, message.offset, payload)
        if received is None:
            self._uploads.setdefault(message.digest, []).append((route, message.id))
            return
        complete = received == message.size
        outbox.reply(route, m.BlobState(id=message.id, digest=message.digest, received=received, complete=complete))

    def answer_uploads(self, outbox: Outbox) -> None:
        """Answers the peers whose uploads have been verified."""
        for upload in self._blobs.finished():
            for route, id in self._uploads.pop(upload.digest, ()):
                if upload.problem is None:
                    state = m.BlobState(id=id, digest=upload.digest, received=upload.size, complete=True)
                    outbox.reply(route, state)
                else:
                    outbox.reply(route, error_reply(id, upload.problem))
            if upload.problem is not None:
                self._quota.forget(upload.digest)


def audit_entry(
    command: m.Cancel | m.Retry | m.Play | m.StopEnvironment | m.DrainWorker | m.Drop,
) -> tuple[str, str, str]:
    """A command's audit entry: action, subject, detail."""
    if isinstance(command, m.StopEnvironment):
        return "stop", f"environment {command.name}", command.project or ""
    if isinstance(command, m.DrainWorker):
        return "drain" if command.on else "undrain", f"worker {command.worker}", ""
    action = str(command.__struct_config__.tag)
    subject = f"run {command.run}" + (f" job {command.job}" if command.job else "")
    if isinstance(command, m.Play):
        return action, subject, " ".join([*(variable.key for variable in command.variables), *command.inputs])
    if isinstance(command, m.Retry):
        files = [] if command.workspace is None else [f"files {command.workspace.id[:12]}"]
        return action, subject, " ".join(["failed only"] * command.failed_only + files + [*command.inputs])
    return action, subject, ""


def worker_of(peer: Peer) -> str:
    """The name of a peer that `Handlers.introduced` has identified as a worker."""
    assert peer.worker is not None
    return peer.worker


def error_reply(id: int | None, error: ProtocolError) -> m.Error:
    """The error reply to the request `id`."""
    return m.Error(id=id, code=error.code, message=str(error))  # type: ignore[arg-type]


def _check_version(protocol: int) -> None:
    if protocol != PROTOCOL_VERSION:
        raise ProtocolError(
            "bad_version",
            f"this coordinator speaks protocol {PROTOCOL_VERSION}, you speak {protocol}: "
            "install the same version of Longshore on both sides",
        )
