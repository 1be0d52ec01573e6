"""The protocol with the shell in a job's container: leads it to `entry.sh`, opens the gate, stops the script.

An image's entrypoint comes first. It may take its time before it runs its arguments or a shell, or never do so;
decision 0011 explains how the two are distinguished. Knows one container by name, nothing of jobs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Lock
from typing import Any

from daemon.executors.base import Interrupted
from daemon.executors.common.script import BARE_MARK, READY_MARK, RELEASED_MARK, bare_lines, first_line
from daemon.executors.docker.api_client import GONE, UP, DockerClient, EngineError
from daemon.executors.docker.logs import stored
from daemon.executors.docker.logs.attached import AttachedOutput
from daemon.executors.docker.logs.multiplexed import ScriptEnd

QUIET_SECONDS = 30.0
"""Seconds without a sign of life from a container before its shell answers; then it never will. Longer than an
entrypoint waits idly, shorter than a person would watch a hung job."""
LONGEST_SECONDS = 600.0
"""Seconds that an entrypoint may work before it starts our shell."""
LOOK_SECONDS = 2.0
"""Seconds between checks for signs of life."""
LATE_SECONDS = 2.0
"""A check this late or slow indicates a busy or suspended host, and says nothing of the container."""
PAUSED = "paused"
SLICE_SECONDS = 0.2
"""Delay in seconds until a wait notices an interrupt or the container's end."""
STORED_SECONDS = 0.05
"""Seconds between reads of a stored log, by a daemon that was not attached when the container started."""


class NoAnswer(Exception):
    """The container gives no sign that our shell will ever run in it. The message names the evidence."""


class EntryEnded(Exception):
    """The container ended before our shell was ready."""


class Gate:
    """One container's gate. Thread-safe.

    `container` is its name or id for the engine. `ended` is called as soon as the container's live output shows the
    script's end. `interrupt` ends all waits for the entry. Unless stated otherwise, a method that talks to the engine
    raises EngineError, EngineUnavailable, and one of GONE.
    """

    def __init__(self, engine: DockerClient, container: str, ended: Callable[[ScriptEnd], None]) -> None:
        self._engine = engine
        self.container = container
        self._ended = ended
        self._lock = Lock()  # `stop` comes from another thread
        self._connection: socket.socket | None = None
        self._live: AttachedOutput | None = None
        self._followed = False  # the live output is taken
        self._ready_before = 0  # READY_MARKs in the log from before the container was started again
        self._interrupted = Event()

    @property
    def attached(self) -> bool:
        """Whether the container's output arrives here, since its start. Not so after a restart of the engine."""
        with self._lock:
            return self._live is not None and self._live.open

    def take_live(self) -> AttachedOutput | None:
        """The container's output since its start, for the first caller only."""
        taken, self._followed = self._followed, True
        return None if taken else self._live

    def attach(self, state: str, start: Callable[[], None]) -> None:
        """Starts the container, attached; a running one is only attached, and its output is in its log."""
        with self._lock:
            self._hang_up()
            if state == "created":
                self._live = AttachedOutput(self._attached(output=True), self._ended)
            else:
                self._live = None
                self._attached()
        if state not in ("created", *UP):
            self._ready_before = stored.count_of(self._engine, self.container, READY_MARK)
        start()

    def greet(self) -> None:
        """Leads a shell, which an image's entrypoint started without our command, to our entry."""
        self.tell(first_line())

    def _attached(self, *, output: bool = False) -> socket.socket:
        if self._connection is None:
            attach = partial(self._engine.attach, self.container, output=output)
            self._connection = self._engine.patiently(attach)
        return self._connection

    def hang_up(self) -> None:
        """Detaches from the container."""
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._live is not None:
            self._live.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def tell(self, lines: bytes) -> None:
        """Writes to the running container's stdin, over a new connection if the old one broke."""
        with self._lock:
            try:
                self._attached().sendall(lines)
            except GONE:
                self._hang_up()
                self._attached().sendall(lines)

    # its output

    def interrupt(self) -> None:
        """Makes `await_entry` raise Interrupted. Returns at once."""
        self._interrupted.set()

    def await_entry(self) -> None:
        """Waits until our shell reads its stdin, its workspace in place. Raises NoAnswer, EntryEnded, Interrupted."""
        signs = self.signs_of_life()
        deadline = time.monotonic() + LONGEST_SECONDS
        bare = False
        while not self._heard(READY_MARK, SLICE_SECONDS):
            if self._interrupted.is_set():
                raise Interrupted
            if not bare and self._heard(BARE_MARK):
                bare = True
                self.tell(bare_lines(self._inspect()["Config"]["Env"]))
            if not self.attached and not self._inspect()["State"]["Running"]:
                if self._heard(READY_MARK):
                    return
                raise EntryEnded
            signs.check()
            if time.monotonic() > deadline:
                raise NoAnswer(f"it was not ready after {LONGEST_SECONDS:.0f} s")

    def signs_of_life(self) -> SignsOfLife:
        """The container's signs of life, from now on."""
        return SignsOfLife(self._engine, self.container, self._received)

    def answered(self, timeout: float = 0.0) -> bool:
        """Whether the gate has opened; waits at most `timeout` seconds for that."""
        return self._heard(RELEASED_MARK, timeout)

    def _heard(self, mark: bytes, timeout: float = 0.0) -> bool:
        live = self._live
        if live and live.heard(mark, timeout):
            return True
        if live and live.open:
            return False
        before = self._ready_before if mark == READY_MARK else 0
        deadline = time.monotonic() + timeout
        while stored.count_of(self._engine, self.container, mark) <= before:
            if time.monotonic() >= deadline:
                return False
            time.sleep(STORED_SECONDS)
        return True

    def _received(self) -> int:
        return self._live.received if self._live else 0

    def _inspect(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self._engine.call("GET", f"/containers/{self.container}/json")
        return facts


class SignsOfLife:
    """Detects a container's activity: it writes (`received` bytes so far), or uses CPU time."""

    def __init__(self, engine: DockerClient, container: str, received: Callable[[], int]) -> None:
        self._engine = engine
        self._container = container
        self._received = received
        self._last = ("", 0)
        self._looked = self._since = time.monotonic()

    def check(self) -> None:
        """Checks periodically. Raises NoAnswer after QUIET_SECONDS without a sign, and the engine's exceptions."""
        now = time.monotonic()
        passed = now - self._looked
        if passed < LOOK_SECONDS:
            return
        seen = (self.state(), self._received())
        late = passed > LOOK_SECONDS + LATE_SECONDS or time.monotonic() - now > LATE_SECONDS
        if late or seen != self._last or seen[0] == PAUSED:
            self._since = now
        elif now - self._since > QUIET_SECONDS:
            raise NoAnswer(f"it gave no sign of life for {QUIET_SECONDS:.0f} s")
        self._looked, self._last = now, seen

    def state(self) -> str:
        """A value that changes with the container's work: CPU seconds of its processes and of their ended children."""
        path = f"/containers/{self._container}"
        if self._engine.call("GET", f"{path}/json")["State"]["Paused"]:
            return PAUSED
        try:
            table = self._engine.call("GET", f"{path}/top", query={"ps_args": "-eo pid,cputimes S"})
            return str(sum(int(seconds) for _, seconds in table["Processes"]))
        except (EngineError, ValueError):  # it has just ended, or the engine's host has a different `ps`
            return ""
