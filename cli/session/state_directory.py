"""The state directory: its lock and its owner's address. Knows no sockets and no database.

At most one process runs a coordinator on a state directory: the holder of `owner.lock`. An owner that accepts clients
publishes its address in `coordinator.json`; that file may be stale, and is trusted only if its process is alive.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import msgspec

from protocol.errors import LongshoreError, UsageError
from protocol.file_lock import try_lock

LOCK_SECONDS = 15.0
"""Time to wait for another process to release the state directory: a reading verb, or one that hands over."""
LOCK_RETRY_SECONDS = 0.02

ENDED = "ZX"
"""Kernel state letters of a terminated process."""


class Owner(msgspec.Struct, frozen=True):
    """The process that serves a state directory, for as long as the process `lives_with` (if given) is alive."""

    address: str
    pid: int
    lives_with: int | None = None

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to end, because the process it lives with is gone."""
        return self.lives_with is not None and not _lives(self.lives_with)


class StateDirectory:
    """A state directory as seen by one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LongshoreError(f"can't create the state directory {path}: {error.strerror}") from error
        self._hide_from_git()

    def _hide_from_git(self) -> None:
        """Ignores a state directory inside a project: it holds keys and secrets, and jobs get all project files."""
        with contextlib.suppress(OSError):
            ignore = os.open(self.path / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(ignore, b"*\n")
            os.close(ignore)

    def try_lock(self) -> bool:
        """Takes ownership if it is free."""
        if self._lock is not None:
            return True
        try:
            lock = os.open(self.path / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LongshoreError(f"can't write to the state directory {self.path}: {error.strerror}") from error
        if not try_lock(lock):
            os.close(lock)
            return False
        self._lock = lock
        self._withdraw()
        return True

    def release(self) -> None:
        """Gives up ownership."""
        if self._lock is not None:
            self._withdraw()
            os.close(self._lock)
            self._lock = None

    def publish(self, address: str, lives_with: int | None = None) -> None:
        """Publishes this owner's address, and the process it ends with."""
        partial = self.path / "coordinator.json.part"
        partial.write_text(json.dumps({"address": address, "pid": os.getpid(), "lives_with": lives_with}) + "\n")
        partial.replace(self.path / "coordinator.json")

    def owner(self) -> Owner | None:
        """The last published owner, if its process is alive."""
        try:
            fields = json.loads((self.path / "coordinator.json").read_text())
            owner = Owner(str(fields["address"]), int(fields["pid"]), fields["lives_with"])
        except (OSError, ValueError, KeyError, TypeError):  # missing, or not written by us
            return None
        return owner if _lives(owner.pid) else None

    def _withdraw(self) -> None:
        with contextlib.suppress(OSError):  # missing; or not a file, which `publish` reports
            (self.path / "coordinator.json").unlink()


def _lives(pid: int) -> bool:
    """Whether a process is running; a terminated one remains listed until its parent reaps it."""
    try:
        if pid > 0:
            os.kill(pid, 0)
    except PermissionError:  # owned by another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ENDED
    return pid > 0


def lock_patiently(state: StateDirectory) -> None:
    """Takes ownership, and waits for an owner that is leaving. Raises UsageError if another one stays."""
    deadline = time.monotonic() + LOCK_SECONDS
    while not state.try_lock():
        if (owner := state.owner()) is not None and not owner.is_leaving:
            raise UsageError(
                f"process {owner.pid} already serves {state.path}, at {owner.address}; "
                "use that one, stop it, or set LONGSHORE_STATE to another directory"
            )
        if time.monotonic() > deadline:
            raise UsageError(f"the state directory {state.path} is in use by another process")
        time.sleep(LOCK_RETRY_SECONDS)
