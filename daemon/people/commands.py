"""Commands of people in jobs' containers: from the coordinator's messages to the executor's `Command`, and back.

Runs in the worker's loop; each command has a thread for its output and one for its input, which may block. Output is
masked as a log is. At most WINDOW_BYTES of it are sent beyond what the client has taken, so a slow client slows the
command down, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Condition

from daemon.executors.base import Command, CommandFailed, Sandbox
from daemon.logs.masking import Masker, secrets_of
from daemon.runtime.thread_pool import THREADS, Task
from protocol import messages as m
from protocol.messages import Assignment

NO_CONTAINER = "this worker no longer has the job's container"

logger = logging.getLogger(__name__)

Send = Callable[[m.Message, "bytes | memoryview | None"], object]
Find = Callable[[str], "tuple[Sandbox, Assignment] | None"]


class _Closed(Exception):
    """Nobody takes the output any more."""


class Commands:
    """All commands under way. `find` gets an attempt's container, `send` sends a message: both in the loop's thread;
    `post` has the loop call something.
    """

    def __init__(self, find: Find, send: Send, post: Callable[..., None]) -> None:
        self._find = find
        self._send = send
        self._post = post
        self._commands: dict[str, _Command] = {}

    def __len__(self) -> int:
        return len(self._commands)

    def receive(self, message: m.Message, payload: bytes | memoryview) -> bool:
        """Handles a message about a command. Returns False for any other."""
        if isinstance(message, m.RunCommand):
            self._open(message)
            return True
        if not isinstance(
            message,
            m.CommandInput | m.CommandInputEnd | m.CommandResize | m.CommandSignal | m.CommandClosed | m.CommandCredit,
        ):
            return False
        command = self._commands.get(message.command)
        if command is None:
            if not isinstance(message, m.CommandClosed):
                self._send(m.CommandEnded(command=message.command, message="it has ended"), None)
        elif isinstance(message, m.CommandClosed):
            del self._commands[message.command]
            command.close("its client is gone")
        else:
            command.receive(message, bytes(payload))
        return True

    def _open(self, message: m.RunCommand) -> None:
        found = self._find(message.attempt)
        if found is None:
            self._send(m.CommandEnded(command=message.command, message=NO_CONTAINER), None)
            return
        sandbox, assignment = found
        command = _Command(message, sandbox, Masker(secrets_of(assignment)), self._from_thread)
        self._commands[message.command] = command
        logger.info("a person runs a command", extra={"attempt": message.attempt})
        try:
            command.start()
        except RuntimeError as error:  # no thread
            self._deliver(m.CommandEnded(command=message.command, message=str(error)), None)

    def _from_thread(self, message: m.Message, payload: bytes | None = None) -> None:
        self._post(self._deliver, message, payload)

    def _deliver(self, message: m.CommandOutput | m.CommandEnded | m.CommandCredit, payload: bytes | None) -> None:
        if message.command in self._commands:
            if isinstance(message, m.CommandEnded):
                del self._commands[message.command]
            self._send(message, payload)

    def tick(self) -> None:
        """About once a second: signs of life, and the end of commands whose client gives none."""
        now = time.monotonic()
        for id, command in list(self._commands.items()):
            if now - command.heard_at > m.SILENT_SECONDS:
                del self._commands[id]
                command.close("its client is silent")
            elif now - command.pinged_at >= m.PING_SECONDS:
                command.pinged_at = now
                self._send(m.CommandCredit(command=id), None)

    def close(self, why: str) -> None:
        """Ends all of them: their clients can't be reached."""
        commands, self._commands = self._commands, {}
        for command in commands.values():
            command.close(why)


class _Command:
    """One command. `send` may be called from any thread."""

    def __init__(self, request: m.RunCommand, sandbox: Sandbox, masker: Masker, send: Callable[..., None]) -> None:
        self.heard_at = self.pinged_at = time.monotonic()
        self._id = request.command
        self._request = request
        self._sandbox = sandbox
        self._send = send
        self._input: SimpleQueue[Callable[[Command], None] | None] = SimpleQueue()
        self._credit = m.WINDOW_BYTES
        self._change = Condition()
        self._closed = False
        self._streams = {number: masker.stream(self._sink(number)) for number in (1, 2)} if masker else {}

    # the loop

    def start(self) -> None:
        """Begins. Raises RuntimeError if there is no thread for it."""
        THREADS.start(Task(self._run, f"command {self._request.attempt}"))

    def receive(self, message: m.Message, payload: bytes) -> None:
        """A message for it."""
        self.heard_at = time.monotonic()
        match message:
            case m.CommandCredit():
                with self._change:
                    self._credit += message.taken
                    self._change.notify_all()
            case m.CommandInput():
                self._input.put(lambda command: self._write(command, payload))
            case m.CommandInputEnd():
                self._input.put(lambda command: command.end_input())
            case m.CommandResize():
                size = min(message.rows, m.LARGEST_SCREEN), min(message.columns, m.LARGEST_SCREEN)
                self._input.put(lambda command: command.resize(*size))
            case m.CommandSignal():
                self._input.put(lambda command: command.signal(message.signal))

    def close(self, why: str) -> None:
        """Nobody waits for it any more."""
        logger.info("ending a person's command: %s", why, extra={"attempt": self._request.attempt})
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._input.put(None)

    # its threads

    def _run(self) -> None:
        ended = m.CommandEnded(command=self._id)
        try:
            command = self._sandbox.run_command(self._request.arguments, self._request.terminal)
            THREADS.start(Task(lambda: self._feed(command), f"input {self._request.attempt}"))
            code = command.follow(self._take, self._quiet)
            for stream in self._streams.values():
                stream.close()
            ended = m.CommandEnded(command=self._id, exit_code=code)
        except _Closed:
            return
        except CommandFailed as error:
            ended = m.CommandEnded(command=self._id, message=str(error))
        except Exception as error:
            logger.exception("a command failed on this worker", extra={"attempt": self._request.attempt})
            ended = m.CommandEnded(command=self._id, message=f"{type(error).__name__}: {error}")
        finally:
            with self._change:
                self._closed = True
            self._input.put(None)
            self._send(ended)

    def _feed(self, command: Command) -> None:
        while (action := self._input.get()) is not None:
            try:
                action(command)
            except CommandFailed as error:
                logger.info("a person's command takes no more input: %s", error)
        command.end()

    def _write(self, command: Command, data: bytes) -> None:
        """What a command does not read any more is dropped, as by a pipe without a reader."""
        with suppress(CommandFailed):
            command.write(data)
        self._send(m.CommandCredit(command=self._id, taken=len(data)))

    def _take(self, stream: int, data: bytes) -> None:
        if masked := self._streams.get(stream):
            masked.write(data)
        else:
            self._emit(stream, data)

    def _quiet(self) -> None:
        """A prompt may end like a secret begins: it must not be held back until somebody types."""
        for stream in self._streams.values():
            stream.flush_short()

    def _sink(self, stream: int) -> Callable[[bytes], None]:
        return lambda data: self._emit(stream, data)

    def _emit(self, stream: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            with self._change:
                self._change.wait_for(lambda: self._credit > 0 or self._closed)
                if self._closed:
                    raise _Closed
                piece = view[: min(m.PIECE_BYTES, self._credit)]
                self._credit -= len(piece)
            view = view[len(piece) :]
            self._send(m.CommandOutput(command=self._id, stream=stream), bytes(piece))
