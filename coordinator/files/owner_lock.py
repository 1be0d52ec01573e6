"""Exclusive ownership of a data directory or database file: a flock on a file with the holder's process id.

The kernel releases a flock with its process, so a killed coordinator needs no clean-up.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from protocol.errors import UsageError

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
        """Releases the lock. The file stays: removing it could break a new holder's lock."""
        os.close(self._file)
