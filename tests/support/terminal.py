"""A process in a terminal of its own, with what it has shown."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True)
class Terminal:
    """The process, where to type, and what it has shown so far."""

    process: subprocess.Popen[bytes]
    keyboard: int
    shown: bytearray

    def press(self, keys: bytes, until: bytes) -> bytes:
        """Types, and waits until something is shown. Returns what was shown since."""
        before = len(self.shown)
        os.write(self.keyboard, keys)
        eventually(lambda: until in self.shown[before:])
        return bytes(self.shown[before:])

    def resize(self, rows: int, columns: int) -> None:
        """Another size."""
        fcntl.ioctl(self.keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    @property
    def is_raw(self) -> bool:
        """Whether the process has switched off what a terminal does with keys."""
        return not termios.tcgetattr(self.keyboard)[3] & termios.ICANON


@contextlib.contextmanager
def terminal(command: list[str], folder: Path, **environment: str) -> Iterator[Terminal]:
    """A process in a terminal of its own, of 36 lines and 120 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    outside = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**outside, "TERM": "xterm-256color", **environment},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = bytearray()
    ended = threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while not ended.is_set():
                if select.select([master], [], [], 0.1)[0]:
                    shown.extend(os.read(master, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield Terminal(process, master, shown)
    finally:
        process.kill()
        process.wait()
        ended.set()
        reader.join()
        os.close(master)
