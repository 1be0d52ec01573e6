"""The coordinator's event loop: messages in, turns of the engine, durable results out. Single-threaded.

One turn: receive messages, hand them to the engine, make the results durable, and only then send, acknowledge and
announce them. If writing fails (disk full, database unreachable), the turn is kept and retried, and no new work is
accepted until it succeeds.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import get_args

import zmq

from coordinator.engine.effects import Turn
from coordinator.engine.state import Now
from coordinator.handlers import Outbox, error_reply
from coordinator.log_searches import Wanted
from coordinator.observation import Metrics, Traces
from coordinator.resources import Resources
from coordinator.security.administration import MESSAGES as ADMIN_MESSAGES
from coordinator.security.roles import Identity
from coordinator.settings import CoordinatorSettings
from coordinator.stall import Stall, failure
from coordinator.store.store import UnreadableRun
from coordinator.store.term import Superseded
from protocol import messages as m
from protocol.clock import boot
from protocol.codec import decode_for_coordinator, kind_of, request_id
from protocol.errors import ProtocolError
from protocol.events import RunRemoved
from protocol.statuses import ENDED

log = logging.getLogger(__name__)

PROJECT_MESSAGES = get_args(m.Administrative)
SCHEDULE_MESSAGES = get_args(m.ChangesSchedules)
CHANNEL_MESSAGES = get_args(m.ChangesChannels)
PRUNE_EVERY = 3600.0
"""Seconds between deletions of rows that nobody needs any more."""
TICK_EVERY = 0.5
"""Seconds between engine ticks, which check deadlines."""
SLOW_PEER_WAIT = 0.002
"""Seconds until a send to a peer with a full queue is retried: a ROUTER can't be polled for a single peer."""
MOST_STOPS = 20
"""Environments stopped in one turn; each may need a finished run from the database."""
TURN_ANSWERS = 200
TURN_ANSWER_BYTES = 8 << 20
"""Maximum query answers per turn; the remaining queries wait for the next one."""
STATUSES_OF_A_MESSAGE = 4
"""Statuses in a batch that the rate limit counts as one more message, by their cost."""
LATE = 2.0
"""A turn this many seconds overdue means that the coordinator was suspended and heard no peer meanwhile."""


def read_clock() -> Now:
    """The current time, read once per turn."""
    return Now(wall=time.time(), mono=time.monotonic(), boot=boot())


class Coordinator(Resources):
    """Call `start`, then `run` in any thread; `stop` is thread-safe.

    `context` lets peers connect by inproc; by default the coordinator creates its own.
    """

    def __init__(
        self,
        settings: CoordinatorSettings,
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        clock: Callable[[], Now] = read_clock,
        metrics: Metrics | None = None,
        traces: Traces | None = None,
    ) -> None:
        super().__init__(settings, context, clock)
        self._metrics = metrics
        self._traces = traces
        self.refused: Counter[str] = Counter()  # rejected frames, by error code
        self._stopping = False
        self._stall: Stall | None = None
        self._held_back: dict[bytes, list[bytes]] = {}  # by route: the newest hello received during a stall
        self._next_tick = 0.0
        self._next_prune = 0.0

    def run(self) -> None:
        """Runs turns until `stop`, then closes everything. A killed process needs no clean-up: it restarts from disk.

        Raises Superseded when another coordinator has taken the database; nothing was written or announced since.
        """
        try:
            while not self._stopping:
                self.turn()
        finally:
            self.close()

    def stop(self) -> None:
        """Ends `run` after the current turn. Thread-safe and idempotent."""
        self._stopping = True
        self.wake()

    # the turn

    def turn(self) -> None:
        """One turn of the loop."""
        due = self.wait()
        self.door.answer()
        now = self._clock()
        if due and now.mono - due > LATE:
            log.warning("event loop stalled for %.1f s", now.mono - due)
            self.engine.was_away(now.mono - due, now)
        if greedy := self.feed.receive_subscriptions():
            self.keep_off_feed(greedy)
        self.feed.beat(now.mono, now.wall)
        if self._stall is not None:
            self.stalled_turn(self._stall, now)
            return
        outbox = Outbox()
        self.handlers.answer_uploads(outbox)
        self.receive(outbox, now)
        self.handlers.relay.look(outbox.reply)
        self.children.find_projects(now)
        outbox.appended += self.children.take_answers(now)
        self.upstream_needs.answer(now)
        self.pass_time(now)
        self.settle(self.engine.flush(now), outbox, now)
        if self._stall is None:
            self.collector.collect()

    def wait(self) -> float:
        """Sleeps until there is work. Returns the (monotonic) time at which it was due to wake; 0 at the start."""
        due = min(self.feed.next_beacon, self._stall.retry_at if self._stall else self._next_tick)
        seconds = due - self._clock().mono
        if self.router.flush():
            seconds = min(seconds, SLOW_PEER_WAIT)
        if self.waiting:
            seconds = 0.0
        self._poller.poll(max(0, math.ceil(seconds * 1000)))
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        return due

    def receive(self, outbox: Outbox, now: Now) -> None:
        """Receives pending messages, up to a turn's bound."""
        for route, frames in self.router.receive():
            self.take(route, frames, outbox, now)

    def take(self, route: bytes, frames: list[bytes], outbox: Outbox, now: Now) -> None:
        """Handles one message; every error in it is answered to its sender and goes no further."""
        id: int | None = None
        try:
            self.pace.check(route, now.mono)
            key = self.router.key_of(route)
            kind = kind_of(frames)
            self.door.check(key, kind)
            message, payload = decode_for_coordinator(frames, kind)
            id = getattr(message, "id", None)
            if isinstance(message, m.Hello):
                self.door.check_name(key, message)
            if isinstance(message, m.BlobGet) and (peer := self.router.peer(route)) is not None:
                self.door.check_blob(key, peer.worker, message.digest)
            if isinstance(message, m.JobStatuses):
                self.pace.check(route, now.mono, len(message.statuses) // STATUSES_OF_A_MESSAGE)
            if isinstance(message, ADMIN_MESSAGES):
                self.administer(route, message, outbox)
            elif self._stall is None:
                self.handlers.take(route, message, payload, now, outbox)
            else:
                self.take_stalled(self._stall, route, message, payload, outbox, now)
            if isinstance(message, m.Hello) and self._stall is not None:
                self._held_back[route] = frames
        except ProtocolError as error:
            self.refuse(route, request_id(frames) if id is None else id, error, outbox)
        except Superseded:
            raise
        except Exception as error:
            self.refuse(route, id, failure(error), outbox)

    def refuse(self, route: bytes, id: int | None, error: ProtocolError, outbox: Outbox) -> None:
        """Queues an error reply, and counts it."""
        self.refused[error.code] += 1
        log.debug("refused: %s: %s", error.code, error)
        if error.code in ("forbidden", "revoked"):
            self.door.refused(self.router.key_of(route), error)
        outbox.reply(route, error_reply(id, error))

    # access

    def administer(self, route: bytes, message: m.Message, outbox: Outbox) -> None:
        """Handles keys, secrets, projects, schedules: rare changes that are written at once, outside the turn."""
        if self._stall is not None:
            raise ProtocolError("unavailable", self._stall.problem)
        key = self.router.key_of(route)
        if isinstance(message, PROJECT_MESSAGES):
            outbox.reply(route, self.projects.answer(message, self.door.access.identity(key)))
            self.want_launcher()
        elif isinstance(message, SCHEDULE_MESSAGES):
            outbox.reply(route, self.schedules.answer(message, self.door.access.identity(key)))
        elif isinstance(message, CHANNEL_MESSAGES):
            outbox.reply(route, self.change_channels(message, self.door.access.identity(key)))
        else:
            outbox.reply(route, self.door.administer(key, message))

    def change_channels(self, message: m.Message, by: Identity) -> m.Message:
        """Adds or removes a channel."""
        if isinstance(message, m.AddChannel):
            return self.channels.add(message, by)
        assert isinstance(message, m.RemoveChannel)
        self.channels.remove(message, by)
        self.deliveries.channel_removed(message.channel, self._clock())
        return m.Done(id=message.id, count=1)

    def cut_off(self, identity: Identity) -> None:
        """Drops a revoked key's peers and queries. Later messages on its connections are refused one by one."""
        key = identity.key.encode()
        if identity.role == "worker":
            self.engine.worker_shut_out(identity.name, self._clock())
        self.router.forget_key(key)
        self.waiting.drop_key(key)
        self.searches.drop_key(key)
        self.reopen_feed()

    def keep_off_feed(self, keys: Iterable[str]) -> None:
        """Bans keys with too many subscriptions from the feed."""
        for key in keys:
            self.door.keep_off_feed(key)
        self.reopen_feed()

    def reopen_feed(self) -> None:
        """Disconnects all subscribers; those still allowed reconnect by themselves at once."""
        self._poller.unregister(self.feed.socket)
        self.feed.reopen()
        self._poller.register(self.feed.socket, zmq.POLLIN)

    def pass_time(self, now: Now) -> None:
        """Ticks the engine every TICK_EVERY seconds, deletes old rows, and stops environments that are due."""
        if now.mono >= self._next_tick:
            self._next_tick = now.mono + TICK_EVERY
            self.engine.tick(now)
            if now.mono >= self._next_prune:
                self._next_prune = now.mono + PRUNE_EVERY
                self.prune(now)
            if self.settings.stops_environments:
                self.stop_environments(now)

    def prune(self, now: Now) -> None:
        """Deletes rows that nobody needs any more; while the database is away, they wait for the next time."""
        try:
            self.deliveries.prune(now)
            self.projects.prune(now)
        except Superseded:
            raise
        except Exception as error:
            log.warning("old triggers and deliveries are not deleted yet: %s", failure(error))

    def stop_environments(self, now: Now) -> None:
        """Stops the environments whose time has come; one whose run can't be read now stays due."""
        for environment in self.engine.due_environments(now)[:MOST_STOPS]:
            run = environment.deployment.run
            try:
                finished = self.handlers.finished(run)
            except UnreadableRun as error:
                log.error("environment %s has no job to stop it: %s", environment.name, error)
                finished = {}
            except Superseded:
                raise
            except Exception as error:
                log.warning("environment %s can't be stopped yet: %s", environment.name, failure(error))
                return
            self.engine.stop_when_due(environment, now, finished=finished)
            if environment.auto_stop_at is None:  # else its job can't be played yet
                log.info("environment %s is stopped: its time is up", environment.name, extra={"run": run})

    def settle(self, turn: Turn, outbox: Outbox, now: Now) -> None:
        """Writes a turn, then announces it; if writing fails, keeps it for a retry."""
        try:
            self.store.confirm()
            self.write_logs()
            self.record_deliveries(turn, now)
            self.write_rows(turn)
        except Superseded:
            raise
        except Exception as error:
            problem = str(failure(error))
            log.error("can't write; accepting no new work until it succeeds: %s", problem)
            self.queries.stored_only = True
            self._stall = Stall(turn, outbox, since=now.mono)
            self._stall.failed(problem, now.mono)
            return
        wrote = self._clock().mono - now.mono if self._metrics else 0.0
        self.announce(turn, outbox)
        if turn:
            self.observe(turn, now, wrote)

    def record_deliveries(self, turn: Turn, now: Now) -> None:
        """Queues what others are to be told of the turn; a mistake there must not keep the turn from being written."""
        try:
            self.deliveries.record(turn, self.engine.unfinished(), now)
        except Superseded:
            raise
        except Exception:
            log.exception("can't tell others about this turn")

    def observe(self, turn: Turn, now: Now, wrote: float) -> None:
        """Passes a settled turn to the observers; writing it took `wrote` seconds."""
        try:
            if self._metrics:
                self._metrics.turn_settled(turn, took=self._clock().mono - now.mono, wrote=wrote)
            if self._traces:
                self._traces.turn_settled(turn, now)
        except Exception:
            log.exception("an observer failed")

    def write_logs(self) -> None:
        """Writes the turn's log bytes durably."""
        self.logs.flush()

    def write_rows(self, turn: Turn) -> None:
        """Writes the turn's rows in one transaction."""
        self.store.write_turn(turn)

    def announce(self, turn: Turn, outbox: Outbox) -> None:
        """Sends, acknowledges and announces a durable turn."""
        self.quota.written(time.monotonic())
        for run in turn.runs:
            self.queries.forget(run.id)
            if run.status in ENDED:
                log.info("%s", run.status, extra={"run": run.id})
        for attempt in turn.ended_attempts:
            fields = {"attempt": attempt.id, "worker": attempt.worker or None}
            log.debug("%s %s", attempt.status, attempt.message or "", extra=fields)
        self.send_replies(outbox)
        self.send_frames(turn, outbox)
        self.children.compile(turn.children)
        self.upstream_needs.look_up(turn.look_ups)
        self.publish(turn, outbox)
        self.answer_queries()

    def send_replies(self, outbox: Outbox) -> None:
        """Sends replies; a worker's welcome precedes all frames that its hello caused."""
        for route, message, payload in outbox.replies:
            if isinstance(message, m.JobExecution) and (peer := self.router.peer(route)):
                message = self.door.with_secrets(peer.worker, message)
            self.router.send(route, message, payload)

    def send_frames(self, turn: Turn, outbox: Outbox) -> None:
        """Sends the engine's frames to workers, and acknowledges log bytes."""
        by_worker: dict[str, list[m.Message]] = {}
        for send in turn.sends:
            by_worker.setdefault(send.worker, []).append(self.door.with_secrets(send.worker, send.message))
        for worker, messages in by_worker.items():
            self.router.send_to_worker(worker, messages)
        for route, attempt, stream in outbox.log_acks:
            ack = m.Ack(attempt=attempt, stream=stream, log_offset=self.logs.stored(attempt, stream))
            self.router.send(route, ack)

    def publish(self, turn: Turn, outbox: Outbox) -> None:
        """Publishes the turn: a job's log bytes before its end."""
        for attempt, stream, piece in outbox.appended:
            self.feed.publish_log(attempt, stream, piece)
        for ended in turn.ended_attempts:
            if self.feed.is_watched(ended.id):
                for stream in self.logs.streams(ended.id):
                    self.feed.publish_log_end(ended.id, stream, self.logs.stored(ended.id, stream))
        self.feed.publish(*turn.events)

    def answer_queries(self) -> None:
        """Answers queries up to a turn's bound, from state that includes everything announced."""
        for route, found in self.searches.answers():
            self.router.send(route, found)
        sent = 0
        for _ in range(TURN_ANSWERS):
            if not self.waiting or sent > TURN_ANSWER_BYTES:
                return
            route, query = self.waiting.take()
            payload: bytes | None = None
            reply: m.Message
            try:
                answer = self.queries.answer(query)
                if isinstance(answer, Wanted):
                    self.searches.add(route, answer)
                    continue
                reply, payload = answer
            except ProtocolError as error:
                reply = error_reply(query.id, error)
            except Superseded:
                raise
            except Exception as error:
                reply = error_reply(query.id, failure(error))
            self.router.send(route, reply, payload)
            sent += len(payload or b"")
            if self.router.peer(route) is None:
                self.waiting.drop(route)

    def run_removed(self, run: int) -> None:
        """Forgets and announces a run that retention has removed."""
        self.queries.forget(run)
        self.feed.publish(RunRemoved(run=run))

    # while a turn can't be written

    def stalled_turn(self, stall: Stall, now: Now) -> None:
        """Serves readers, refuses everything else, and retries the write when due."""
        outbox = Outbox()
        self.handlers.answer_uploads(outbox)
        self.receive(outbox, now)
        self.handlers.relay.look(outbox.reply)
        self.send_replies(outbox)
        self.answer_queries()
        if now.mono >= stall.retry_at:
            self.resettle(stall, now)

    def take_stalled(
        self, stall: Stall, route: bytes, message: m.Message, payload: bytes | memoryview, outbox: Outbox, now: Now
    ) -> None:
        """Handles stateless messages; drops workers' frames, which are resent until acknowledged."""
        if isinstance(message, m.Hello) or self.handlers.take_stateless(route, message, payload, outbox):
            return
        peer = self.handlers.introduced(route, message)
        if peer.worker is not None:
            self.engine.worker_heard(peer.worker, now)
        id = getattr(message, "id", None)
        if id is not None and not stall.has_answered(route, id):
            raise ProtocolError("unavailable", f"{stall.problem}; it accepts no new work until that is solved")

    def resettle(self, stall: Stall, now: Now) -> None:
        """Retries writing the turn, with growing pauses."""
        try:
            self.store.confirm()
            self.write_logs()
            self.write_rows(stall.turn)
        except Superseded:
            raise
        except Exception as error:
            stall.failed(str(failure(error)), now.mono)
            return
        log.warning("writing succeeded after %.1f s; accepting new work again", now.mono - stall.since)
        self._stall = None
        self.queries.stored_only = False
        self.announce(stall.turn, stall.outbox)
        outbox = Outbox()
        held_back, self._held_back = self._held_back, {}
        for route, frames in held_back.items():
            self.take(route, frames, outbox, now)
        self.settle(self.engine.flush(now), outbox, now)
