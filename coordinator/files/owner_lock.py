"""One owner per data directory and database file: a flock, and in the file the process id of its holder.

The kernel drops a flock with its process, so a killed coordinator never has to be cleaned up after.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from protocol.errors import UsageError

RETRY_FOR = 1.0
"""Seconds to try for: the kernel may still be ending the last holder."""
RETRY_EVERY = 0.02


class Lock:
    """Holds the lock file at `path` until `release` or the end of the process. `what` says what it protects.

    Raises UsageError naming the holder's process id if somebody else has it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + RETRY_FOR
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(RETRY_EVERY)
                    continue
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
                os.close(self._file)
                raise UsageError(
                    f"{what} is in use by another coordinator (process {holder or 'unknown'}); stop that one, or use it"
                ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Gives the lock up. The file stays: who removed it might take it from under a new holder."""
        os.close(self._file)
