"""The state directory: who owns it, and where its owner listens. Knows no sockets and no database.

At most one process at a time runs a coordinator on a state directory: the one that holds `owner.lock`. The kernel drops
the lock with its process, however that ends, so a lock is never stale. An owner that takes clients says where it
listens in `coordinator.json`; that file may be stale, and is only believed of a process that lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import LongshoreError, UsageError

if TYPE_CHECKING:
    pass

LOCK_SECONDS = 15.0
"""How long to wait for another process to leave the state directory: a verb that reads, or one that hands over."""
LOCK_RETRY_SECONDS = 0.02

ENDED = "ZX"
"""The kernel's letters for a process that has ended."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that serves a state directory, as long as the process `lives_with` is there if that is given."""

    address: str
    pid: int
    lives_with: int | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to end, because the process is gone that it lives with."""
        return self.lives_with is not None and not _lives(self.lives_with)


class StateDirectory:
    """One state directory as one process sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_patiently: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LongshoreError(f"can't make the state directory {path}: {error.strerror}") from error
        self._hide_from_git()

    def _hide_from_git(self) -> None:
        """A state directory inside a project is none of its files: it has keys and secrets, and jobs get all files."""
        with contextlib.suppress(OSError):
            ignore = os.open(self.path / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(ignore, b"*\n")
            os.close(ignore)

    def try_lock(self) -> bool:
        """Becomes the owner, if nobody is."""
        if self.lock_patiently is not None:
            return True
        try:
            lock = os.open(self.path / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LongshoreError(f"can't write to the state directory {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self.lock_patiently = lock
        self._withdraw()
        return True

    def release(self) -> None:
        """Is the owner no more."""
        if self.lock_patiently is not None:
            self._withdraw()
            os.close(self.lock_patiently)
            self.lock_patiently = None

    def publish(self, address: str, lives_with: int | None = None) -> None:
        """Tells where clients reach this owner, and with which process it ends."""
        partial = self.path / "coordinator.json.part"
        partial.write_text(json.dumps({"address": address, "pid": os.getpid(), "lives_with": lives_with}) + "\n")
        partial.replace(self.path / "coordinator.json")

    def owner(self) -> Owner | None:
        """Who has published last, if that process lives."""
        try:
            told = json.loads((self.path / "coordinator.json").read_text())
            owner = Owner(str(told["address"]), int(told["pid"]), told["lives_with"])
        except (OSError, ValueError, KeyError, TypeError):  # none, or none of our making
            return None
        return owner if _lives(owner.pid) else None

    def _withdraw(self) -> None:
        with contextlib.suppress(OSError):  # not there; or no file, as whoever publishes will say
            (self.path / "coordinator.json").unlink()


def _lives(pid: int) -> bool:
    """Whether a process is there that still does something; one that has ended stays known until it is waited for."""
    try:
        if pid > 0:
            os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ENDED
    return pid > 0


def lock_patiently(state: StateDirectory) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while not state.try_lock():
        if (owner := state.owner()) is not None and not owner.is_leaving:
            raise UsageError(
                f"process {owner.pid} serves {state.path} already, at {owner.address}; "
                "use that one, stop it, or set LONGSHORE_STATE to another directory"
            )
        if time.monotonic() > deadline:
            raise UsageError(f"the state directory {state.path} is in use by another process")
        time.sleep(LOCK_RETRY_SECONDS)
