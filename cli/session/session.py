"""How a verb gets at a coordinator: one that is named, one that serves the state directory, or one of its own.

A session outlives the coordinator it talks to: after `CoordinatorUnreachable`, `again` finds the one that has taken
over, or takes over itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cli.options.common import Target
from cli.options.serving import Serving, default_serving
from cli.session.state_directory import StateDirectory
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError

if TYPE_CHECKING:
    from cli.session.embedded import Embedded

CONNECT_SECONDS = 5.0
"""How long a coordinator that was named may take to say welcome."""
REQUEST_SECONDS = 15.0
"""How long a request to a coordinator that was reached may take."""
KNOCK_SECONDS = 1.0
"""How long an owner that has just been read of may take to say welcome."""
TAKEOVER_SECONDS = 30.0
"""How long a state directory may be locked by a process that answers nobody: another verb that reads, or a start."""
RETRY_SECONDS = 0.02
Waits = Callable[[], AbstractContextManager[None]]
"""What is entered while a coordinator is waited for: the one place where a session may be broken off."""
BACKGROUND_LOG = "background.log"
PATIENCE_SECONDS = 120.0
"""How long a run is followed without an answer of its coordinator."""


class Session(ABC):
    """A way to a coordinator. `client` is connected; it is the session's and changes with `again`."""

    client: Client
    leaves_containers = False
    """Whether containers of a canceled run are left to be removed after `close`."""

    @abstractmethod
    def again(self) -> None:
        """Finds the coordinator again after it did not answer. Raises CoordinatorUnreachable when patience ends."""

    @property
    def embedded(self) -> Embedded | None:
        """The coordinator and worker in this process, if this session runs them."""
        return None

    @property
    def serves(self) -> bool:
        """Whether this session has brought the coordinator: what it was told of it has an effect."""
        return False

    @abstractmethod
    def check(self) -> None:
        """A quick look, without asking the coordinator. Raises CoordinatorUnreachable if it is known to be gone."""

    def close(self) -> None:
        """Lets go of the coordinator; one of our own hands unfinished runs over."""
        self.client.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RemoteSession(Session):
    """A coordinator that the user has named."""

    def __init__(self, address: str, waits: Waits = nullcontext) -> None:
        self._waits = waits
        self.client = Client(address, timeout=CONNECT_SECONDS, name="cli")
        try:
            with waits():
                _ = self.client.welcome
        except BaseException:
            self.client.close()
            raise
        self.client.timeout = REQUEST_SECONDS

    def again(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.client.close()
            self.client = Client(self.client.address, timeout=REQUEST_SECONDS, name="cli")
            try:
                with self._waits():
                    _ = self.client.welcome
            except CoordinatorUnreachable:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def check(self) -> None:
        """Only asking tells."""


class StateSession(Session):
    """The coordinator of a state directory: its live owner, or, where there is none and `own` is set, our own.

    Where there is none and `own` is not set, a background process is started. `serving` is for the coordinator and
    the worker of either; None: as the settings files say.
    """

    def __init__(
        self,
        state: StateDirectory,
        serving: Serving | None = None,
        *,
        own: bool,
        client: Client | None = None,
        waits: Waits = nullcontext,
    ) -> None:
        self._state = state
        self._waits = waits
        self._serving = serving
        self._own = own
        self._embedded: Embedded | None = None
        self._background: subprocess.Popen[bytes] | None = None
        if client is not None:
            self.client = client
        else:
            self._enter()

    @property
    def embedded(self) -> Embedded | None:
        return self._embedded

    @property
    def serves(self) -> bool:
        if self._background is not None:
            owner = self._state.owner()
            return owner is not None and owner.pid == self._background.pid
        return self._embedded is not None

    def check(self) -> None:
        if self._embedded is not None:
            self._embedded.check()
            return
        owner = self._state.owner()
        if owner is None or owner.address != self.client.address:
            raise CoordinatorUnreachable(f"nobody serves {self._state.path} at {self.client.address} any more")

    def again(self) -> None:
        self.client.close()
        if self._embedded is not None:
            self._embedded.check()
            self._embedded.stop()
            self._embedded = None
            self._state.release()
        self._enter()

    def close(self) -> None:
        super().close()
        if self._embedded is not None:
            unfinished = self._embedded.stop()
            self._embedded = None
            self._state.release()
            if unfinished or self.leaves_containers:
                start_background(self._state, self._serving)

    def _enter(self) -> None:
        deadline = time.monotonic() + TAKEOVER_SECONDS
        self._background = None
        while True:
            if self._own and self._state.try_lock():
                self._embedded = _embed(self._state, self._serving)
                self._state.publish(self._embedded.address)
                self.client = _client_of(self._embedded)
                return
            if client := _knock(self._state):
                self.client = client
                return
            if self._background is not None and self._background.poll():
                raise LongshoreError(_last_line(self._state.path / BACKGROUND_LOG))
            if not self._own and self._background is None and _is_free(self._state):
                self._background = start_background(self._state, self._serving)
            if time.monotonic() > deadline:
                raise CoordinatorUnreachable(
                    f"the state directory {self._state.path} is in use by a process that does not answer"
                )
            with self._waits():
                time.sleep(RETRY_SECONDS)


class ReadingSession(Session):
    """Reads a state directory that nobody serves, by a coordinator that lives as long as the verb and runs nothing."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._reader = _embed(state, Serving(), worker=False)
        self.client = _client_of(self._reader)

    def again(self) -> None:
        raise CoordinatorUnreachable(f"the coordinator that read {self._state.path} ended")

    def check(self) -> None:
        self._reader.check()

    def close(self) -> None:
        super().close()
        self._reader.stop()
        self._state.release()


def running_session(where: Target, serving: Serving | None = None, waits: Waits = nullcontext) -> Session:
    """For `run` and the dashboard: brings a coordinator and a worker into this process if nobody else serves."""
    if where.coordinator:
        return RemoteSession(where.coordinator, waits)
    return StateSession(StateDirectory(where.state), serving, own=True, waits=waits)


def import_ahead(where: Target) -> None:
    """What `running_session` will import, for who has something else under way meanwhile."""
    if where.coordinator is None and StateDirectory(where.state).owner() is None:
        _import_embedded()


def acting_session(where: Target, serving: Serving | None = None, waits: Waits = nullcontext) -> Session:
    """For verbs that leave work to be done after them: a background process does it if nobody else serves."""
    if where.coordinator:
        return RemoteSession(where.coordinator, waits)
    return StateSession(StateDirectory(where.state), serving, own=False, waits=waits)


def reading_session(where: Target) -> Session:
    """For verbs that only read: with a coordinator in this process for as long, if nobody else serves."""
    if where.coordinator:
        return RemoteSession(where.coordinator)
    state = StateDirectory(where.state)
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while not state.try_lock():
        if (client := _knock(state)) or time.monotonic() > deadline:
            return StateSession(state, own=False, client=client)
        time.sleep(RETRY_SECONDS)
    return ReadingSession(state)


def _import_embedded() -> type[Embedded]:
    from coordinator.store.drivers import only_sqlite

    only_sqlite()
    from cli.session.embedded import Embedded

    return Embedded


def _embed(state: StateDirectory, serving: Serving | None, *, worker: bool = True) -> Embedded:
    embedded = _import_embedded()
    if serving is None:
        serving = default_serving()
    from cli.process.log_setup import log_to_file

    log_to_file(state.path / "longshore.log")
    return embedded(state, serving, worker=worker)


def _client_of(embedded: Embedded) -> Client:
    return Client(embedded.address, timeout=REQUEST_SECONDS, name="cli", credentials=embedded.credentials)


def _knock(state: StateDirectory) -> Client | None:
    """A client of the state's owner, if it is there and answers."""
    if (owner := state.owner()) is None:
        return None
    client = Client(owner.address, timeout=KNOCK_SECONDS, name="cli")
    try:
        _ = client.welcome
    except CoordinatorUnreachable:
        client.close()
        return None
    client.timeout = REQUEST_SECONDS
    return client


def _is_free(state: StateDirectory) -> bool:
    if not state.try_lock():
        return False
    state.release()
    return True


def start_background(state: StateDirectory, serving: Serving | None) -> subprocess.Popen[bytes]:
    """Starts a process of its own that serves the state directory until all its runs have ended."""
    options = [] if serving is None else serving.arguments()
    settings = {} if serving is None else {"LONGSHORE_CONFIG": os.devnull}  # all of them are in the options
    with (state.path / BACKGROUND_LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "background", *options, "--", str(state.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=os.environ | settings,
            start_new_session=True,
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() or ["the background process failed"]
    return lines[-1].removeprefix("longshore: ")
