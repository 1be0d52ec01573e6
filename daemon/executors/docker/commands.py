"""Runs commands of people in a job's container, through the engine's `exec`.

The engine neither ends a command whose connection is closed nor signals one, so both are done by further commands that
find its processes by their session (`common/commands.py`). An engine behind TLS can't be told the end of stdin: such a
connection has no half-closed state.
"""

from __future__ import annotations

import io
import logging
import select
import socket
import ssl
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Lock
from typing import Any

from daemon.executors.base import Command, CommandFailed
from daemon.executors.common.commands import (
    MOST_BEFORE_MARK,
    PID_MARK,
    SCRIPT_NAME,
    command_line,
    end_line,
    script_again,
    signal_line,
)
from daemon.executors.docker.api_client import GONE, DockerClient, EngineError
from daemon.executors.docker.container import JobContainer
from daemon.executors.docker.logs.multiplexed import HEADER_BYTES
from protocol.errors import EngineUnavailable
from protocol.messages import Signal, Terminal

STDOUT = 1
QUIET_SECONDS = 0.1
"""Seconds without output after which no more is expected for the moment."""
RECEIVE_BYTES = 64 << 10
MARK_SECONDS = 10.0
"""Seconds that an end waits for a command to say its process."""
ENDED_SECONDS = 5.0
"""Seconds from the end of a command's output until the engine knows its exit status."""
REMOVED = "its container was removed"

logger = logging.getLogger(__name__)


class DockerCommand(Command):
    """See `Command`. Runs on construction. Raises CommandFailed."""

    def __init__(
        self,
        engine: DockerClient,
        container: str,
        line: Sequence[str],
        environment: Sequence[str],
        terminal: Terminal | None,
    ) -> None:
        self._engine = engine
        self._container = container
        self._tty = terminal is not None
        self._process: int | None = None
        self._known = Event()  # the process, or that there is none
        self._ended = False
        self._sending = Lock()
        try:
            self._id = engine.call(
                "POST",
                f"/containers/{container}/exec",
                body={
                    "AttachStdin": True,
                    "AttachStdout": True,
                    "AttachStderr": True,
                    "Tty": self._tty,
                    "Env": [*environment, *([f"TERM={terminal.kind}"] if terminal else [])],
                    "Cmd": list(line),
                },
                patience=0,
            )["Id"]
            self._socket = engine.start_exec(self._id, tty=self._tty)
            if terminal:
                with suppress(EngineError):  # the first size is right in time for most programs; the next one counts
                    self._resize(terminal.rows, terminal.columns)
        except EngineError as error:
            raise CommandFailed(REMOVED if error.status == 404 else f"Docker: {error.message}") from error
        except (EngineUnavailable, OSError, *GONE) as error:
            raise CommandFailed(str(error)) from error

    # output

    def follow(self, sink: Callable[[int, bytes], None], quiet: Callable[[], None]) -> int:
        """See Command."""
        opening = _Opening(sink, self._began)
        try:
            with suppress(ConnectionError, ssl.SSLError):
                self._read(opening.put if self._tty else _Frames(opening.put).put, quiet)
            opening.close()
            self._ended = True
            return self._exit_code()
        finally:
            self._known.set()
            self._socket.close()

    def _read(self, take: Callable[[int, bytes], None], quiet: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        expects = False  # more, as something has just come
        while True:
            if expects and not self._pending() and not poll.poll(QUIET_SECONDS * 1000):
                quiet()
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                return
            take(STDOUT, data)
            expects = True

    def _pending(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _began(self, process: int | None) -> None:
        self._process = process
        self._known.set()

    def _exit_code(self) -> int:
        """The engine learns of a command's end a little after its output's."""
        deadline = time.monotonic() + ENDED_SECONDS
        while True:
            try:
                facts: Mapping[str, Any] = self._engine.call("GET", f"/exec/{self._id}/json", patience=0)
            except EngineError as error:
                raise CommandFailed(REMOVED if error.status == 404 else f"Docker: {error.message}") from error
            except EngineUnavailable as error:
                raise CommandFailed(str(error)) from error
            if not facts["Running"] and facts["ExitCode"] is not None:
                return int(facts["ExitCode"])
            if time.monotonic() > deadline:
                raise CommandFailed("the engine has closed its output, but does not say how it ended")
            time.sleep(0.02)

    # input

    def write(self, data: bytes) -> None:
        """See Command."""
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError as error:
            raise CommandFailed("it does not read its stdin any more") from error

    def end_input(self) -> None:
        """See Command."""
        if isinstance(self._socket, ssl.SSLSocket):
            raise CommandFailed("an engine behind TLS can't be told the end of stdin")
        with self._sending, suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """See Command."""
        if self._tty and not self._ended:
            with suppress(EngineError, EngineUnavailable):  # it has just ended
                self._resize(rows, columns)

    def _resize(self, rows: int, columns: int) -> None:
        self._engine.call("POST", f"/exec/{self._id}/resize", query={"h": rows, "w": columns}, patience=0)

    def signal(self, signal: Signal) -> None:
        """See Command."""
        if self._known.wait(MARK_SECONDS) and self._process is not None and not self._ended:
            self._run(signal_line(self._process, signal))

    def end(self) -> None:
        """See Command."""
        if self._known.wait(MARK_SECONDS) and self._process is not None and not self._ended:
            self._run(end_line(self._process))
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self, line: Sequence[str]) -> None:
        """Runs a further command to its end."""
        try:
            created = self._engine.call(
                "POST",
                f"/containers/{self._container}/exec",
                body={"Cmd": list(line), "AttachStdout": True},
                patience=0,
            )
            with self._engine.start_exec(created["Id"], tty=False) as connection:
                connection.settimeout(MARK_SECONDS)
                while connection.recv(RECEIVE_BYTES):
                    pass
        except (EngineError, EngineUnavailable, OSError, *GONE) as error:
            logger.debug("a command's processes can't be signalled: %r", error)


class _Opening:
    """The beginning of a command's output: takes PID_MARK out of it."""

    def __init__(self, sink: Callable[[int, bytes], None], began: Callable[[int | None], None]) -> None:
        self._sink = sink
        self._began = began
        self._held: bytes | None = b""  # None: it is over

    def put(self, stream: int, data: bytes) -> None:
        if self._held is None or stream != STDOUT:
            self._sink(stream, data)
            return
        self._held += data
        if found := PID_MARK.search(self._held):
            rest = self._held[: found.start()] + self._held[found.end() :]
            self._held = None
            self._began(int(found[1]))
            if rest:
                self._sink(STDOUT, rest)
        elif len(self._held) > MOST_BEFORE_MARK:
            self.close()

    def close(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._began(None)
        if held:
            self._sink(STDOUT, held)


class _Frames:
    """Takes the engine's frames apart: a header with the stream's number and the length, then the bytes."""

    def __init__(self, sink: Callable[[int, bytes], None]) -> None:
        self._sink = sink
        self._rest = b""

    def put(self, _stream: int, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= HEADER_BYTES:
            end = at + HEADER_BYTES + int.from_bytes(data[at + 4 : at + HEADER_BYTES], "big")
            if end > len(data):
                break
            self._sink(data[at], data[at + HEADER_BYTES : end])
            at = end
        self._rest = data[at:]


def run_command(container: JobContainer, arguments: Sequence[str], terminal: Terminal | None) -> DockerCommand:
    """Runs a command in a job's container with its variables, without those for `entry.sh`. Raises CommandFailed."""
    try:
        facts = container.inspect()
    except EngineError as error:
        raise CommandFailed(REMOVED if error.status == 404 else f"Docker: {error.message}") from error
    except EngineUnavailable as error:
        raise CommandFailed(str(error)) from error
    if not facts["State"]["Running"]:
        raise CommandFailed("its container has ended")
    directory = f"{container.assignment.project_dir}.tmp"
    _add_tools(container, directory)
    values = container.last_environment().values
    own = (each.partition("=")[0] for each in facts["Config"]["Env"] or ())
    hidden = [name for name in own if name.startswith("LONGSHORE_") and name not in values]
    line = command_line(arguments, container.assignment.project_dir, directory, hidden)
    environment = [f"{key}={value}" for key, value in values.items()]
    return DockerCommand(container.engine, container.key, line, environment, terminal)


def _add_tools(container: JobContainer, directory: str) -> None:
    """Puts `longshore-script` into a container, beside the project directory. It can be done without."""
    if container.has_tools:
        return
    job = container.assignment.job
    text = script_again([*job.before_script, *job.script], container.assignment.project_dir).encode()
    member = tarfile.TarInfo(f"{directory}/{SCRIPT_NAME}".lstrip("/"))
    member.size, member.mode = len(text), 0o755
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(text))
    try:
        container.engine.put_archive(container.key, "/", lambda: [packed.getvalue()])
        container.has_tools = True
    except (EngineError, EngineUnavailable) as error:
        logger.warning("no %s for a person's command: %s", SCRIPT_NAME, error)
