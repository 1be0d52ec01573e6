"""The worker daemon: one loop owns the connection, the clock and all state. Jobs block in their own threads.

Crash-only: all durable state is in the engine or at the coordinator, so a killed worker resumes when restarted.
Start here to read the daemon; then `attempts.machine` (an attempt's events) and `attempts.runner` (one attempt's life).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import msgspec
import zmq

from daemon.attempts.manager import AttemptManager
from daemon.attempts.observation import Metrics, Observers, Traces
from daemon.checkouts.store import CheckoutStores
from daemon.executors.base import Executor
from daemon.people.commands import Commands
from daemon.people.kept_containers import KeptContainers
from daemon.runtime.mailbox import Mailbox
from daemon.runtime.thread_pool import run_in_background
from daemon.runtime.timers import Timer, Timers
from daemon.settings import WorkerSettings
from daemon.upstream.blob_cache import BlobCache
from daemon.upstream.connection import Connection, ConnectionState
from daemon.upstream.requests import Answer, Requests
from daemon.upstream.transfers import Transfers
from protocol import PROTOCOL_VERSION
from protocol import messages as m
from protocol.errors import LongshoreError, UsageError
from protocol.file_lock import try_lock
from protocol.views import ExecutorInfo

TICK = 1.0
"""Seconds between checks for overdue work."""
HEARTBEAT = 5.0
"""Seconds between heartbeats until a welcome sets the interval."""
WELCOME_WAIT = 2.0
"""Seconds without a welcome before the hello is sent again."""
SILENT_HEARTBEATS = 3
"""Heartbeats without a frame from the coordinator before the socket is replaced."""
REMOVE_BOUND = 10.0
"""Seconds that a stop waits for container removals in progress."""
NAME_RETRY = 0.05
BRIEFLY = 2.0
"""Seconds for which another process may hold the lock of the worker's name: `longshore doctor`, which checks whether
the worker is alive, or a child of the previous worker between fork and exec."""
NOBODY = "0.0"
"""An id that no attempt has: a request for it only checks that the coordinator answers."""

MOST_GREETINGS = 10
"""Unanswered hellos to remember: a slow coordinator may still answer an old one."""

logger = logging.getLogger(__name__)


class _Greeting(msgspec.Struct, frozen=True):
    """A sent hello: its time (monotonic) and the attempts that it listed."""

    at: float
    listed: set[str]


class _Either(Container[str]):
    """What is in one of two containers, now."""

    def __init__(self, *each: Container[str]) -> None:
        self._each = each

    def __contains__(self, attempt: object) -> bool:
        return any(attempt in one for one in self._each)


class Worker:
    """A worker: runs jobs on its executor. `run` blocks until `stop`."""

    def __init__(
        self,
        settings: WorkerSettings,
        executor: Executor,
        *,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        metrics: Metrics | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.settings = settings
        self._observers = Observers(metrics, traces)
        self._executor = executor
        self._context = context
        self._mailbox = Mailbox()
        self._timers = Timers()
        self._heartbeat = HEARTBEAT
        self._heartbeat_timer: Timer | None = None
        self._probe: Future[Answer] | None = None
        self._greetings: OrderedDict[str, _Greeting] = OrderedDict()  # unanswered, by session
        self._greeted = False
        self._opened_at = self._greeted_at = 0.0
        self._renewed_at = 0.0  # send time of the newest frame that was answered
        self._done = False
        self._stops = 0
        self._leave_at = 0.0
        self._fatal: LongshoreError | None = None

        self.removing = False  # at the end: what is left was not removed in time

    # any thread

    def stop(self) -> None:
        """The first call is graceful: returns attempts that have not begun and finishes running ones. The second call
        leaves at once: containers continue, and the next daemon of this name resumes them.
        """
        self._mailbox.post(self._on_stop)

    def tell(self) -> None:
        """Logs the worker's attempts and their progress."""
        self._mailbox.post(self._tell)

    # the loop's thread

    def run(self) -> None:
        """Works until stopped. Raises EngineUnavailable if no engine answers at the start, UsageError if another worker
        of this name runs on this host, LongshoreError if one runs elsewhere or the coordinator speaks another protocol
        version.
        """
        with self._name_lock():
            executor = self._executor
            executor.facts()  # raises while there is still somebody to tell
            cache = BlobCache(
                self.settings.blobs, self.settings.cache_limit, self.settings.name, self.settings.keep_caches
            )
            cache.clean_up()
            self._requests = Requests(self._mailbox.post, self._send, time.monotonic)
            transfers = Transfers(self._requests, cache)
            checkouts = CheckoutStores(self.settings.checkouts, self.settings.cache_limit, self.settings.keep_caches)
            self._kept = KeptContainers(self.settings.kept, executor, lambda: self._mailbox.post(self._beat))
            self._attempts = AttemptManager(
                self.settings,
                executor,
                transfers,
                checkouts,
                self._requests,
                self._timers,
                self._send,
                self._beat,
                self._mailbox.post,
                self._observers,
                self._kept,
            )
            self._commands = Commands(self._attempts.container_of, self._send, self._mailbox.post)
            self._attempts.find()
            self._sweep(executor, (cache, checkouts), at_start=True)
            context = self._context or zmq.Context.instance()
            self._link = Connection(context, self.settings.coordinator, self._mailbox, self.settings.credentials)
            self._renewed_at = self._opened_at = time.monotonic()
            try:
                self._tick()
                self._beat()
                self._loop()
            finally:
                self._commands.close("the worker ends")
                self._link.close()
                self._mailbox.close()
                self._guarded(executor.close)
        if self._fatal:
            raise self._fatal

    @contextmanager
    def _name_lock(self) -> Iterator[None]:
        """Holds the name's lock: two daemons of one name would each treat the other's containers as their own."""
        path = self.settings.lock_path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise LongshoreError(f"can't write to the worker's state directory: {path}: {error.strerror}") from error
        with file:
            began = time.monotonic()
            announced = False
            while not try_lock(file.fileno()):
                waited = time.monotonic() - began
                if waited > max(self.settings.name_wait, BRIEFLY):
                    raise UsageError(
                        f"a worker named {self.settings.name!r} already runs on this host (it holds {path}); "
                        "give this one another name"
                    )
                if not announced and waited > BRIEFLY:
                    logger.info("another worker named %s is running; waiting for it to end", self.settings.name)
                    announced = True
                time.sleep(NAME_RETRY)
            yield

    def _loop(self) -> None:
        attempts = self._attempts.machine
        while not self._done:
            due = min(self._timers.next(), attempts.due)
            may_greet = self._link.wait(min(TICK, max(0.0, due - time.monotonic())))
            attempts.in_reach = self._link.state is not ConnectionState.CONNECTING
            for function, arguments in self._mailbox.drain():
                self._guarded(function, *arguments)
            if self._greeted and self._link.state is not ConnectionState.GREETED:
                self._on_disconnected()
            if may_greet:
                self._greet()
            for message, payload in self._link.receive():
                self._opened_at = time.monotonic()
                self._guarded(self._on_message, message, payload)
            for action in self._timers.due(time.monotonic()):
                self._guarded(action)
            self._guarded(self._attempts.feed, attempts.wake)
            self._guarded(self._attempts.feed, attempts.flush)
            if self._stops:
                self._guarded(self._see_whether_done)

    def _tell(self) -> None:
        lines = self._attempts.machine.descriptions()
        logger.info("%s, attempts: %d", self._link.state.value, len(lines))
        for line in lines:
            logger.info("%s", line)

    def _guarded(self, function: Callable[..., None], *arguments: Any) -> None:
        """Calls `function`; an exception of one message or job must not stop the rest."""
        try:
            function(*arguments)
        except Exception:
            logger.exception("%s failed", getattr(function, "__qualname__", function))

    # the connection

    def _send(self, message: m.Message, payload: bytes | memoryview | None = None) -> bool:
        return self._link.send(message, payload)

    def _greet(self) -> None:
        held = self._attempts.machine.held()
        hello = m.Hello(
            protocol=PROTOCOL_VERSION,
            name=self.settings.name,
            session=self._link.new_session(),
            labels=[] if self._stops else list(self.settings.labels),
            run_untagged=self.settings.run_untagged and not self._stops,
            slots=self.settings.slots,
            executor=self._about_executor(),
            attempts=held,
        )
        if self._link.greet(hello):
            self._greeted_at = time.monotonic()
            self._greetings[hello.session] = _Greeting(self._greeted_at, {one.attempt for one in held})
            if len(self._greetings) > MOST_GREETINGS:
                self._greetings.popitem(last=False)

    def _about_executor(self) -> ExecutorInfo:
        executor = self._executor
        return ExecutorInfo(kind=executor.kind, engine=executor.facts(), capabilities=sorted(executor.capabilities))

    def _on_disconnected(self) -> None:
        logger.warning("lost the coordinator at %s; jobs continue", self.settings.coordinator)
        self._greeted = False
        self._requests.disconnected()
        self._commands.close("the coordinator can't be reached")
        self._attempts.machine.disconnected()

    def _on_welcome(self, welcome: m.Welcome) -> None:
        greeting = self._greetings.pop(welcome.session, None)
        if greeting is None:  # a second answer: its list of attempts to keep is stale
            return
        if self._greeted:
            self._on_disconnected()
        logger.info("connected to %s", self.settings.coordinator, extra={"epoch": welcome.epoch})
        self._link.welcomed()
        self._greeted = True
        self._renewed_at = max(self._renewed_at, greeting.at)
        self._heartbeat = welcome.heartbeat
        self._attempts.feed(self._attempts.machine.welcomed, set(welcome.keep), greeting.listed)
        self._requests.connected()
        self._beat()

    def _beat(self) -> None:
        if self._heartbeat_timer:
            self._heartbeat_timer.cancel()
        now = time.monotonic()
        self._heartbeat_timer = self._timers.at(now + self._heartbeat, self._beat)
        if self._greeted:
            low = self._disk_low()
            self._send(m.Heartbeat(disk_low=low, attempts=self._attempts.machine.held(), kept=self._kept.listed()))
            if low:
                self._kept.drop_oldest()
            self._renew(now)

    def _renew(self, now: float) -> None:
        """Probes the coordinator. The lease counts from the probe's send time: an unsolicited frame may come from a
        coordinator that has not heard from this worker for a long time.
        """

        def answered(probe: Future[Answer]) -> None:
            if not probe.cancelled():  # an error is a sign of life too
                self._renewed_at = max(self._renewed_at, now)

        if self._probe:
            self._probe.cancel()
        self._probe = self._requests.call(m.GetJobStatus, patient=False, attempt=NOBODY)
        self._probe.add_done_callback(answered)

    def _disk_low(self) -> bool:
        try:
            return shutil.disk_usage(self.settings.blobs).free < self.settings.disk_floor
        except OSError as error:  # the directory was removed; the next blob recreates it
            logger.warning("can't read the free space of the cache's disk: %s", error)
            return False

    def _tick(self) -> None:
        now = time.monotonic()
        self._timers.at(now + TICK, self._tick)
        self._requests.tick(now)
        self._attempts.tick(self._renewed_at)
        self._kept.tick(now)
        self._commands.tick()
        if now - self._opened_at > SILENT_HEARTBEATS * self._heartbeat:
            self._opened_at = now
            self._link.reopen()
        elif self._link.state is ConnectionState.GREETING and now - self._greeted_at > WELCOME_WAIT:
            self._link.lost()

    def _sweep(self, executor: Executor, caches: tuple[BlobCache, CheckoutStores], *, at_start: bool = False) -> None:
        """Removes leftovers of unknown attempts and expired cache entries, now and periodically.

        After the start, again soon: while the first sweep looks, the engine may still carry out the last requests of a
        killed predecessor, and so make, or be about to remove, what belongs to no attempt.
        """
        run_in_background(executor.sweep, _Either(self._attempts.machine.known, self._kept))
        for cache in caches:
            run_in_background(cache.trim)
        if not at_start:
            run_in_background(self._ask_of_strangers, executor)
        pause = self.settings.second_sweep if at_start else self.settings.sweep_interval
        self._timers.at(time.monotonic() + pause, lambda: self._sweep(executor, caches))

    def _ask_of_strangers(self, executor: Executor) -> None:
        """Removes leftovers on this engine of workers that the coordinator reports as gone."""
        if not (strangers := executor.strangers()):
            return

        def answered(future: Future[Answer]) -> None:
            if not future.cancelled() and future.exception() is None:
                reply = future.result()[0]
                for worker in reply.workers if isinstance(reply, m.GoneWorkers) else ():
                    if worker in strangers:
                        logger.info("removing the leftovers of worker %s from this engine", worker)
                        run_in_background(executor.clear, worker)

        names = sorted(strangers)[: m.MOST_WORKERS_ASKED]
        self._requests.call(m.GetGoneWorkers, patient=False, workers=names).add_done_callback(answered)

    # messages

    def _on_message(self, message: m.Message, payload: bytes | memoryview) -> None:
        feed, attempts = self._attempts.feed, self._attempts.machine
        match message:
            case m.Ack():
                feed(attempts.acknowledge, message)
            case m.AssignJob():
                feed(attempts.execute_job, message.assignment)
            case m.DependencyUpdate():
                feed(attempts.update_dependency, message.attempt, message.dependency)
            case m.CancelJob():
                feed(attempts.cancel, message.attempt)
            case m.RevokeJob():
                feed(attempts.revoke, message.attempt)
            case m.DiscardAttempt():
                feed(attempts.discard, message.attempt)
            case m.Welcome():
                self._on_welcome(message)
            case m.DropKept():
                self._kept.drop(message.attempt)
            case m.Drain():
                logger.info("draining: accepting no new jobs" if message.on else "accepting new jobs again")
            case m.Error():
                self._on_error(message)
            case _ if self._commands.receive(message, payload):
                pass
            case _:
                self._requests.answered(message, payload)

    def _on_error(self, error: m.Error) -> None:
        if error.code == "not_introduced":
            self._link.lost()
        elif error.code == "revoked":
            self._shut_out(error)
        elif error.code in ("bad_version", "not_yours", "forbidden"):
            self._fatal = LongshoreError(f"{self.settings.coordinator}: {error.message}")
            self._done = True
        elif error.id is not None:
            self._requests.answered(error, b"")
        else:
            logger.error("the coordinator rejected a frame: %s", error.message, extra={"code": error.code})

    # the end

    def _shut_out(self, error: m.Error) -> None:
        """Ends all jobs first: the coordinator accepts no results from here and may assign the jobs elsewhere."""
        if self._fatal is None:
            logger.error("%s: ending all jobs", error.message)
            self._fatal = LongshoreError(f"{self.settings.coordinator}: {error.message}")
            for held in self._attempts.machine.held():
                self._attempts.feed(self._attempts.machine.discard, held.attempt)
            self._leave()

    def _on_stop(self) -> None:
        self._stops += 1
        if self._stops > 1:
            self._leave()
            return
        logger.info("stopping gracefully; stop again to leave at once")
        self._leave_at = time.monotonic() + self.settings.stop_timeout
        self._attempts.feed(self._attempts.machine.return_not_begun)
        if self._greeted:
            self._greet()  # without labels and untagged jobs: no job matches

    def _leave(self) -> None:
        """Leaves containers running; waits only for removals in progress."""
        self._stops = max(2, self._stops)
        self._leave_at = time.monotonic() + REMOVE_BOUND
        self._attempts.feed(self._attempts.machine.leave)

    def _see_whether_done(self) -> None:
        if self._stops == 1 and time.monotonic() >= self._leave_at:
            self._leave()
        attempts = self._attempts.machine
        busy = attempts.removing if self._stops > 1 else len(attempts)
        if not busy or time.monotonic() >= self._leave_at:
            if self._stops > 1:
                self._attempts.feed(attempts.leave)  # also those whose acknowledgement has not come
            self._link.say_goodbye(m.Goodbye(keeps=attempts.unfinished()))
            self.removing = attempts.removing
            self._done = True
