"""The conversation with the shell in a job's container: brings it to `entry.sh`, opens the gate, stops the script.

An image's entrypoint comes first. It may take its time before it runs its arguments or a shell, or never do; decision
0011 says how the two are told apart. Knows one container by name, nothing of jobs.
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
"""How long a container may give no sign of life before its shell answers; then it never will. More than an entrypoint
waits idly for anything, less than a person would look at a job that hangs."""
LONGEST_SECONDS = 600.0
"""How long an entrypoint may be at work before it comes to our shell."""
LOOK_SECONDS = 2.0
"""Between looks for signs of life."""
LATE_SECONDS = 2.0
"""A look that comes so late, or takes so long, tells of a host that is busy or was asleep, not of the container."""
PAUSED = "paused"
SLICE_SECONDS = 0.2
"""How soon a wait sees that it is interrupted, and a container that has ended."""
STORED_SECONDS = 0.05
"""Between looks at a stored log, by a daemon that was not attached when the container started."""


class NoAnswer(Exception):
    """The container gives no sign that our shell will ever run in it. The message says how that was seen."""


class EntryEnded(Exception):
    """The container has ended before our shell was ready."""


class Gate:
    """That of one container. Thread-safe.

    `container` is what the engine is asked for. `ended` is called as soon as the script's end is known from the
    container's live output. `interrupt` ends all waits for the entry. Unless it says otherwise, a method that talks to
    the engine raises EngineError, EngineUnavailable, and one of GONE.
    """

    def __init__(self, engine: DockerClient, container: str, ended: Callable[[ScriptEnd], None]) -> None:
        self._engine = engine
        self.container = container
        self._ended = ended
        self._lock = Lock()  # `stop` comes from a thread of its own
        self._connection: socket.socket | None = None
        self._live: AttachedOutput | None = None
        self._followed = False  # somebody has taken the live output
        self._ready_before = 0  # READY_MARKs in the log from before the container was started again
        self._interrupted = Event()

    @property
    def attached(self) -> bool:
        """Whether the container's output comes here, since its start. After a restart of the engine it does not."""
        with self._lock:
            return self._live is not None and self._live.open

    def take_live(self) -> AttachedOutput | None:
        """The container's output since its start, for the first who asks."""
        taken, self._followed = self._followed, True
        return None if taken else self._live

    def attach(self, state: str, start: Callable[[], None]) -> None:
        """Starts the container, attached; one that runs is attached only, and its output is in its log."""
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
        """Brings a shell to our entry that an image's entrypoint has started without our command."""
        self.tell(first_line())

    def _attached(self, *, output: bool = False) -> socket.socket:
        if self._connection is None:
            attach = partial(self._engine.attach, self.container, output=output)
            self._connection = self._engine.patiently(attach)
        return self._connection

    def hang_up(self) -> None:
        """Lets go of the container."""
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._live is not None:
            self._live.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def tell(self, lines: bytes) -> None:
        """Writes to the stdin of the running container, over a new connection if the old one broke."""
        with self._lock:
            try:
                self._attached().sendall(lines)
            except GONE:
                self._hang_up()
                self._attached().sendall(lines)

    # what it says

    def interrupt(self) -> None:
        """Has `await_entry` raise Interrupted. Returns at once."""
        self._interrupted.set()

    def await_entry(self) -> None:
        """Until our shell reads its stdin, its workspace in place. Raises NoAnswer, EntryEnded, Interrupted."""
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
                raise NoAnswer(f"it was not there after {LONGEST_SECONDS:.0f} s")

    def signs_of_life(self) -> SignsOfLife:
        """The container's, from now on."""
        return SignsOfLife(self._engine, self.container, self._received)

    def answered(self, timeout: float = 0.0) -> bool:
        """Whether the gate has opened; waits for that at most so many seconds."""
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
    """Whether a container does anything: it writes (`received` bytes so far), or uses CPU time."""

    def __init__(self, engine: DockerClient, container: str, received: Callable[[], int]) -> None:
        self._engine = engine
        self._container = container
        self._received = received
        self._last = ("", 0)
        self._looked = self._since = time.monotonic()

    def check(self) -> None:
        """Looks now and then. Raises NoAnswer when there was no sign for QUIET_SECONDS, and what the engine raises."""
        now = time.monotonic()
        passed = now - self._looked
        if passed < LOOK_SECONDS:
            return
        seen = (self.state(), self._received())
        late = passed > LOOK_SECONDS + LATE_SECONDS or time.monotonic() - now > LATE_SECONDS
        if late or seen != self._last or seen[0] == PAUSED:
            self._since = now
        elif now - self._since > QUIET_SECONDS:
            raise NoAnswer(f"nothing was heard of it for {QUIET_SECONDS:.0f} s")
        self._looked, self._last = now, seen

    def state(self) -> str:
        """What changes while the container is at work: the CPU seconds of its processes and of their ended children."""
        path = f"/containers/{self._container}"
        if self._engine.call("GET", f"{path}/json")["State"]["Paused"]:
            return PAUSED
        try:
            table = self._engine.call("GET", f"{path}/top", query={"ps_args": "-eo pid,cputimes S"})
            return str(sum(int(seconds) for _, seconds in table["Processes"]))
        except (EngineError, ValueError):  # it has ended just now, or the engine's host has another `ps`
            return ""
