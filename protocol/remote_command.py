"""A client's end of a command in a job's container: what it sends and receives after OpenCommand.

Knows no terminal. Single-threaded: its owner polls `socket`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import zmq

from protocol import messages as m
from protocol.client import Client
from protocol.codec import decode_for_client, encode
from protocol.errors import LongshoreError


class CommandLost(LongshoreError):
    """The command's end is unknown: its coordinator or worker is gone, or its container."""

    exit_status = 255


class RemoteCommand:
    """A command that runs. `client` is used for nothing else from now on.

    Raises UsageError if the job has no container, and the client's errors.
    """

    def __init__(
        self, client: Client, run: int, job: str, arguments: Sequence[str], terminal: m.Terminal | None
    ) -> None:
        opened = client.request(
            m.OpenCommand, m.CommandOpened, run=run, job=job, arguments=list(arguments), terminal=terminal
        )
        self.worker = opened.worker
        self.socket = client.socket
        self.window = m.WINDOW_BYTES
        """Bytes of input that may be sent now."""
        self._id = opened.command
        self._heard_at = self._sent_at = time.monotonic()
        self._over = False

    # out

    def write(self, data: bytes) -> None:
        """Sends input, at most `window` bytes."""
        for at in range(0, len(data), m.PIECE_BYTES):
            self._send(m.CommandInput(command=self._id), data[at : at + m.PIECE_BYTES])
        self.window -= len(data)

    def end_input(self) -> None:
        """There is no more input."""
        self._send(m.CommandInputEnd(command=self._id))

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has another size."""
        self._send(m.CommandResize(command=self._id, rows=rows, columns=columns))

    def signal(self, signal: m.Signal) -> None:
        """A signal for its processes."""
        self._send(m.CommandSignal(command=self._id, signal=signal))

    def took(self, count: int) -> None:
        """So many bytes of output were written."""
        self._send(m.CommandCredit(command=self._id, taken=count))

    def close(self) -> None:
        """Ends it, if it still runs."""
        if not self._over:
            self._over = True
            self._send(m.CommandClosed(command=self._id))

    def _send(self, message: m.Message, payload: bytes | None = None) -> None:
        """The windows bound what is in flight; a socket that takes no more belongs to a coordinator that is gone."""
        self._sent_at = time.monotonic()
        with suppress(zmq.Again):
            self.socket.send_multipart(encode(message, payload), zmq.DONTWAIT)

    # in

    def receive(self) -> Iterator[tuple[m.CommandOutput | m.CommandEnded, bytes]]:
        """What has come: output, and its end with an exit status. Raises CommandLost for an end without one."""
        while not self._over:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            message, payload = decode_for_client(frames)
            if isinstance(message, m.Error) and message.code == "not_introduced":
                self._over = True
                raise CommandLost("the connection to the coordinator broke: it was restarted, or could not be reached")
            if getattr(message, "command", None) != self._id:
                continue
            self._heard_at = time.monotonic()
            if isinstance(message, m.CommandCredit):
                self.window += message.taken
            elif isinstance(message, m.CommandEnded):
                self._over = True
                if message.exit_code is None:
                    raise CommandLost(message.message)
                yield message, b""
            elif isinstance(message, m.CommandOutput):
                yield message, bytes(payload)

    def tick(self) -> None:
        """About once a second: gives a sign of life. Raises CommandLost if the other end has given none for long."""
        now = time.monotonic()
        if now - self._heard_at > m.SILENT_SECONDS:
            raise CommandLost(f"no sign of life from worker {self.worker} for {m.SILENT_SECONDS:.0f} s")
        if now - self._sent_at >= m.PING_SECONDS:
            self.took(0)
