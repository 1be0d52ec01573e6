"""Locks open files (flock). The kernel releases a lock with its process, so a killed holder needs no clean-up."""

from __future__ import annotations

import fcntl


def try_lock(file: int, *, shared: bool = False) -> bool:
    """Takes a file's lock if it is free, `shared` or exclusive. Returns whether this process now holds it.

    Closing the descriptor releases it. Raises OSError on a file system without locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
