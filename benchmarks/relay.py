"""Counts the bytes between a peer and a coordinator from outside: a relay of TCP connections on a port of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from protocol.addresses import parse_tcp

PIECE = 1 << 20


class Relay:
    """A context manager. `address` leads to the coordinator; `sent` and `received` are bytes, as the peer sees them."""

    def __init__(self, coordinator: str) -> None:
        where = parse_tcp(coordinator)
        self._target = where.host, where.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self.received = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, name="relay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def reset(self) -> None:
        """Counts from 0 again."""
        self.sent = self.received = 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                coordinator = socket.create_connection(self._target)
                self._open += [peer, coordinator]
                threading.Thread(target=self._pump, args=(peer, coordinator, "sent"), daemon=True).start()
                threading.Thread(target=self._pump, args=(coordinator, peer, "received"), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counter: str) -> None:
        """One direction of a connection; its thread is the only one that counts there, save for others of a reset."""
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                target.sendall(data)
                setattr(self, counter, getattr(self, counter) + len(data))
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
