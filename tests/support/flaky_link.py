"""A TCP cable between two ends that a test can cut and mend."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cable:
    """Listens at `address` and passes all on to the far end, while it is whole."""

    def __init__(self, far: str) -> None:
        self.lead_to(far)
        self._whole = True
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections; new ones break at once."""
        self._whole = False
        for end in list(self._sockets):
            _close(end)

    def mend(self) -> None:
        """New connections hold again."""
        self._whole = True

    def lead_to(self, far: str) -> None:
        """New connections go to another far end."""
        host, _, port = far.removeprefix("tcp://").rpartition(":")
        self._far = (host, int(port))

    def close(self) -> None:
        """Takes it away."""
        self.cut()
        _close(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self._far)
                except OSError:
                    near.close()
                    continue
                self._sockets |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            _close(end)
            self._sockets.discard(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads or accepts; close alone does not
    end.close()
