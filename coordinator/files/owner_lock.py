"""Exclusive ownership of a data directory or database file: a locked file with the holder's process id."""

from __future__ import annotations

import os
import time
from pathlib import Path

from protocol.errors import UsageError
from protocol.file_lock import try_lock

RETRY_FOR = 1.0
"""Seconds to keep trying: the kernel may still be ending the previous holder."""
RETRY_EVERY = 0.02


class Lock:
    """Holds the lock file at `path` until `release` or the end of the process. `what` names the protected resource.

    Raises UsageError with the holder's process id if the lock is taken.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + RETRY_FOR
        while not try_lock(self._file):
            if time.monotonic() >= deadline:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
                os.close(self._file)
                raise UsageError(
                    f"{what} is in use by another coordinator (process {holder or 'unknown'}); stop that one, or use it"
                )
            time.sleep(RETRY_EVERY)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Releases the lock. The file stays: removing it could break a new holder's lock."""
        os.close(self._file)
