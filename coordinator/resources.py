"""Everything that a coordinator opens, connected with each other: files, database, engine, sockets, threads."""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

import zmq

from coordinator.channels import Channels
from coordinator.child_runs import ChildRuns
from coordinator.children.compiler import ChildCompiler
from coordinator.deliveries import Deliveries
from coordinator.engine.engine import Engine
from coordinator.engine.state import Now
from coordinator.files.blob_store import BlobStore
from coordinator.files.log_store import LogStore
from coordinator.files.owner_lock import Lock
from coordinator.handlers import CoordinatorInfo, Handlers
from coordinator.launcher_process import LauncherProcess
from coordinator.log_searches import LogSearches
from coordinator.maintenance.collector import Collector
from coordinator.maintenance.housekeeper import Housekeeper
from coordinator.other_projects import Artifacts, KnownProjects
from coordinator.projects import Projects
from coordinator.queries import Queries, QueryQueue
from coordinator.schedules import Schedules
from coordinator.security.gatekeeper import Gatekeeper
from coordinator.security.limits import RateLimiter
from coordinator.security.quota import Quota
from coordinator.security.roles import Identity
from coordinator.settings import CoordinatorSettings
from coordinator.store.history import History
from coordinator.store.store import Store
from coordinator.transport.publisher import Publisher
from coordinator.transport.router import Router
from coordinator.upstream_needs import UpstreamNeeds
from protocol.errors import LongshoreError
from protocol.keys import local_addresses, make_private

log = logging.getLogger(__name__)


class Resources(ABC):
    """Opens everything in `start`, and closes it in reverse order in `close`. The subclass has the loop."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        context: zmq.Context[zmq.Socket[bytes]] | None,
        clock: Callable[[], Now],
    ) -> None:
        self.settings = settings
        self._context = context or zmq.Context()
        self._owns_context = context is None
        self._clock = clock
        self._open: list[Callable[[], object]] = []  # close functions, in order of opening
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    @abstractmethod
    def cut_off(self, identity: Identity) -> None:
        """A key was revoked."""

    @abstractmethod
    def run_removed(self, run: int) -> None:
        """Retention has removed a run."""

    def start(self) -> None:
        """Acquires the state directory and database, and listens; then `address` is known.

        Raises LongshoreError if another coordinator is running, or the database or an address can't be used.
        """
        try:
            self._open_files()
            unfinished = self._restore()
            self._listen()
            self._connect()
        except BaseException:
            self.close()
            raise
        log.info("listening at %s, feed at %s, %d unfinished runs", self.address, self.feed.address, unfinished)

    def _open_files(self) -> None:
        state = self.settings.state
        try:
            make_private(state)
            self._open.append(Lock(state / "coordinator.lock", f"the state directory {state}").release)
            self.store = Store(self.settings.database_url)
            self._open.append(self.store.close)
            self.logs = LogStore(state / "logs")
            self._open.append(self.logs.close)
            self.blobs = BlobStore(state / "blobs", self.wake)
            self._open.append(self.blobs.close)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise LongshoreError(f"can't use the state directory {state}: {error.strerror}{where}") from error

    def _restore(self) -> int:
        """Fills the engine from the database. Returns the number of unfinished runs."""
        next_run, next_job = self.store.next_ids()
        self.engine = Engine(self.settings.engine, next_run_id=next_run, next_job_id=next_job)
        runs, workers = self.store.load_unfinished()
        environments, kept = self.store.load_environments(), self.store.load_kept()
        self.engine.restore(runs, workers, self._clock(), environments=environments, kept=kept)
        return len(runs)

    def _listen(self) -> None:
        settings = self.settings
        self.door = Gatekeeper(
            self._context, settings.state, self.store, self.engine, self.cut_off, secure=settings.secure
        )
        self._open.append(self.door.close)
        self.door.shut_out_again(self._clock())
        self.router = Router(self._context, settings.bind, self.door.keys_for(settings.bind))
        self._open.append(self.router.close)
        self.feed = Publisher(self._context, settings.feed_address, self.door.keys_for(settings.feed_address))
        self._open.append(lambda: self.feed.close())
        self._poller = zmq.Poller()
        self._poller.register(self.router.socket, zmq.POLLIN)
        self._poller.register(self.feed.socket, zmq.POLLIN)
        self._poller.register(self._woken, zmq.POLLIN)
        self.door.watch(self._poller)

    def _connect(self) -> None:
        """Connects what handles messages, queries and garbage with what is open by now."""
        settings = self.settings
        facts = CoordinatorInfo(
            self.store.coordinator_id, self.feed.epoch, self.feed.address, settings.engine.heartbeat
        )
        self.waiting = QueryQueue()
        self.pace = RateLimiter(settings.limits.messages_per_second)
        self.quota = Quota(settings.limits)
        self.projects = Projects(self.store, self.door.vault)
        self.schedules = Schedules(self.store, self.projects, self.engine)
        self.channels = Channels(self.store, self.door.vault, self.projects)
        self.deliveries = Deliveries(self.store, self.projects, self.channels, settings.web_url)
        self.handlers = Handlers(
            facts,
            self.router,
            self.engine,
            self.store,
            self.logs,
            self.blobs,
            self.waiting,
            self.door.note,
            settings.limits,
            self.quota,
            self.projects,
            self.schedules,
            self.deliveries,
        )
        compiler = ChildCompiler(settings.state / "children", self.blobs.path, settings.children)
        self._open.append(compiler.close)
        history = History(self.store.all)
        known = KnownProjects(self.store, history, self.blobs)
        self.children = ChildRuns(compiler, self.engine, self.handlers.submission, self.logs, known, history, self.wake)
        artifacts = Artifacts(history, self.blobs)
        self.upstream_needs = UpstreamNeeds(self.engine, known, artifacts, self.wake)
        self.queries = Queries(
            self.engine,
            self.store,
            self.logs,
            self.blobs,
            self.feed,
            self.projects,
            self.schedules,
            self.channels,
            self.deliveries,
        )
        self.searches = LogSearches(self.logs, self.wake)
        self._open.append(self.searches.close)
        state, retention = settings.state, settings.retention
        self.housekeeper = Housekeeper(retention, settings.database_url, state / "logs", state / "blobs", self.wake)
        self._open.append(self.housekeeper.close)
        self.collector = Collector(
            self.housekeeper, self.engine, self.store, self.blobs, self.quota, retention.young, self.run_removed
        )
        self.door.tell_this_user(self.address, self.feed.address)
        self.launcher = LauncherProcess(settings.launcher, settings.state, self.local_address)
        self._open.append(self.launcher.close)
        self.want_launcher()

    def want_launcher(self) -> None:
        """Has the launcher started, if there is something for it to do."""
        if self.settings.launcher and self.projects:
            self.launcher.want()

    @property
    def local_address(self) -> str:
        """The address at which this host's processes reach it."""
        return local_addresses(self.address)[-1] if self.address.startswith("tcp://") else self.address

    @property
    def address(self) -> str:
        """The address that workers and clients connect to."""
        return self.router.address

    def wake(self) -> None:
        """Wakes the loop. Thread-safe."""
        with suppress(OSError):  # buffer full: a wake-up is pending; closed: the loop has ended
            self._waker.send(b"\0")

    def close(self) -> None:
        """Closes everything. Only needed for a coordinator that was started and never run; `run` calls it."""
        while self._open:
            self._open.pop()()
        self._woken.close()
        self._waker.close()
        if self._owns_context:
            self._context.term()
