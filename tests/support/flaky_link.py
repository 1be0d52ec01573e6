"""A TCP cable between two ends that a test can cut and mend, and on which it can hold up what the far end sends."""

from __future__ import annotations

import contextlib
import socket
import threading


class Cable:
    """Listens at `address` and passes all on to the far end, while it is whole."""

    def __init__(self, far: str) -> None:
        self.lead_to(far)
        self._whole = True
        self._left: int | None = None  # bytes from the far end until it is held up
        self._goes_on = threading.Event()
        self.is_holding = threading.Event()
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

    def hold_after(self, count: int) -> None:
        """After so many more bytes, nothing comes from the far end any more; then `is_holding` is set."""
        self._goes_on.clear()
        self.is_holding.clear()
        self._left = count

    def let_go(self) -> None:
        """What is held up goes on."""
        self._left = None
        self._goes_on.set()

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
                    threading.Thread(target=self._pass_on, args=(one, other, one is far), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, may_be_held: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if may_be_held and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self.is_holding.set()
                        self._goes_on.wait()
                sink.sendall(data)
        for end in (source, sink):
            _close(end)
            self._sockets.discard(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads or accepts; close alone does not
    end.close()
