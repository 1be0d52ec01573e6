"""Connects a verb to a coordinator: the named one, the owner of the state directory, or one of its own.

A session outlives its coordinator: after `CoordinatorUnreachable`, `again` finds the successor or becomes it.
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
"""Timeout of the handshake with a named coordinator."""
REQUEST_SECONDS = 15.0
"""Timeout of a request to a connected coordinator."""
KNOCK_SECONDS = 1.0
"""Timeout of the handshake with the owner named in `coordinator.json`."""
TAKEOVER_SECONDS = 30.0
"""Time that a state directory may stay locked by a process that does not answer: a reading verb, or a start."""
RETRY_SECONDS = 0.02
Waits = Callable[[], AbstractContextManager[None]]
"""Context entered while waiting for a coordinator: the only place where a session may be interrupted."""
BACKGROUND_LOG = "background.log"
PATIENCE_SECONDS = 120.0
"""Time to follow a run without an answer from its coordinator."""


class Session(ABC):
    """A connection to a coordinator. `client` is connected, owned by the session, and replaced by `again`."""

    client: Client
    leaves_containers = False
    """Whether containers of a canceled run remain to be removed after `close`."""

    @abstractmethod
    def again(self) -> None:
        """Reconnects after a lost connection. Raises CoordinatorUnreachable when patience ends."""

    @property
    def embedded(self) -> Embedded | None:
        """The coordinator and worker in this process, if any."""
        return None

    @property
    def serves(self) -> bool:
        """Whether this session started the coordinator, so that its options take effect."""
        return False

    @abstractmethod
    def check(self) -> None:
        """Cheap check without a request. Raises CoordinatorUnreachable if the coordinator is known to be gone."""

    def close(self) -> None:
        """Releases the coordinator; an embedded one hands over its unfinished runs."""
        self.client.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RemoteSession(Session):
    """A coordinator named by the user."""

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
        """Detects nothing: only a request can."""


class StateSession(Session):
    """The coordinator of a state directory: its live owner, or else an embedded one (`own`) or a background process.

    `serving` configures the coordinator and worker of either; None: as in the settings files.
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
            raise CoordinatorUnreachable(f"{self._state.path} is no longer served at {self.client.address}")

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
    """Reads an unowned state directory, through a coordinator that lives only for this verb and runs nothing."""

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
    """For `run` and the dashboard: embeds a coordinator and a worker if no other process serves."""
    if where.coordinator:
        return RemoteSession(where.coordinator, waits)
    return StateSession(StateDirectory(where.state), serving, own=True, waits=waits)


def import_ahead(where: Target) -> None:
    """Imports the dependencies of `running_session` early, while the caller waits for something else."""
    if where.coordinator is None and StateDirectory(where.state).owner() is None:
        _import_embedded()


def acting_session(where: Target, serving: Serving | None = None, waits: Waits = nullcontext) -> Session:
    """For verbs whose effects outlive them: starts a background process if no other process serves."""
    if where.coordinator:
        return RemoteSession(where.coordinator, waits)
    return StateSession(StateDirectory(where.state), serving, own=False, waits=waits)


def reading_session(where: Target) -> Session:
    """For read-only verbs: embeds a temporary coordinator if no other process serves."""
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
    """A client of the state directory's owner, if it answers."""
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
    """Starts a process that serves the state directory until all of its runs end."""
    options = [] if serving is None else serving.arguments()
    settings = {} if serving is None else {"LONGSHORE_CONFIG": os.devnull}  # the options carry all settings
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
