"""Connects a remote command with this process's stdin, stdout, stderr and signals, until it ends.

One loop polls the connection, stdin and signals. Output has a thread of its own: a stopped terminal (Ctrl-S) or a slow
reader must not keep the loop from giving signs of life.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from types import FrameType

import zmq

from cli.terminal.raw_mode import screen_size
from protocol import messages as m
from protocol.remote_command import RemoteCommand

READ_BYTES = 32 << 10
TICK_SECONDS = 1.0
ENDS_OF_PROCESS = (signal.SIGTERM, signal.SIGHUP)
INTERRUPTS_FORGIVEN = 1
"""Interrupts that are passed on to the command; a further one ends this process."""
OUTPUT_FILES = {1: 1, 2: 2}
"""The file descriptor for each stream."""


class Bridge:
    """One connection. `tty`: stdin is a terminal in raw mode, so keys that interrupt are the command's."""

    def __init__(self, command: RemoteCommand, *, tty: bool) -> None:
        self.ended = False
        """Whether the command has ended by itself."""
        self._command = command
        self._tty = tty
        self._signals: list[int] = []
        self._interrupts = 0
        self._written = 0  # bytes, by the output's thread
        self._credited = 0
        self._failed: OSError | None = None
        self._output: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def run(self) -> int:
        """Returns the command's exit status, or 128 and the signal that ended this process.

        Raises CommandLost, and BrokenPipeError if the output's reader is gone.
        """
        writer = Thread(target=self._write, name="output", daemon=True)
        writer.start()
        try:
            with self._catching_signals():
                status = self._loop()
            self._output.put(None)
            writer.join()
            if self._failed is not None:
                raise self._failed
            return status
        finally:
            self._command.close()
            self._output.put(None)

    def _loop(self) -> int:
        command = self._command
        reads = True
        poller = zmq.Poller()
        poller.register(command.socket, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        ticked_at = time.monotonic()
        while True:
            if reads and command.window > 0:
                poller.register(0, zmq.POLLIN)
            elif 0 in poller:
                poller.unregister(0)
            ready = dict(poller.poll(round(TICK_SECONDS * 1000)))
            with suppress(BlockingIOError):
                self._woken.recv(4096)
            if (status := self._handle_signals()) is not None:
                return status
            for message, data in command.receive():
                if isinstance(message, m.CommandEnded):
                    self.ended = True
                    return message.exit_code or 0
                self._output.put((OUTPUT_FILES.get(message.stream, 2), data))
            if self._failed is not None:
                raise self._failed
            self._credit()
            if 0 in ready and reads and command.window > 0:
                reads = self._read()
            if time.monotonic() - ticked_at >= TICK_SECONDS:
                ticked_at = time.monotonic()
                command.tick()

    def _read(self) -> bool:
        """Sends what stdin has. Returns whether it goes on."""
        try:
            data = os.read(0, min(READ_BYTES, self._command.window))
        except OSError:  # closed, or its terminal is gone
            data = b""
        if data:
            self._command.write(data)
        else:
            self._command.end_input()
        return bool(data)

    def _credit(self) -> None:
        written = self._written
        if written != self._credited:
            self._command.took(written - self._credited)
            self._credited = written

    # output

    def _write(self) -> None:
        while (piece := self._output.get()) is not None:
            file, data = piece
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(file, view) :]
            except OSError as error:
                self._failed = error
            self._written += len(data)
            self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # full: the loop is awake anyway
            self._waker.send(b"\0")

    # signals

    @contextmanager
    def _catching_signals(self) -> Iterator[None]:
        wanted = [signal.SIGINT, *ENDS_OF_PROCESS, *([signal.SIGWINCH] if self._tty else [])]
        before = {number: signal.signal(number, self._note) for number in wanted}
        wakes = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakes)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _handle_signals(self) -> int | None:
        """Passes signals on. Returns the exit status if one of them ends this process."""
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGWINCH:
                self._command.resize(*screen_size())
            elif number == signal.SIGINT and self._interrupts < INTERRUPTS_FORGIVEN:
                self._interrupts += 1
                self._command.signal("INT")
            else:
                return 128 + number
        return None
