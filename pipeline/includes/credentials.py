"""A cache of the passwords that git asks for on a terminal, for one compilation: git's own `credential-cache`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from protocol.file_lock import try_lock

PREFIX = "longshore-credentials-"
END_SECONDS = 5.0
"""Timeout of the end of a cache."""


class CredentialCache:
    """Passwords in memory, in a process that ends with `close` or after `seconds`."""

    def __init__(self, seconds: float) -> None:
        remove_abandoned()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = _owner(self._folder).open("a")
        try_lock(self._lock.fileno())
        socket = shlex.quote(str(_socket(self._folder)))
        self.setting = ("credential.helper", f"cache --timeout {seconds:.0f} --socket {socket}")
        """Git's setting for it."""

    def close(self) -> None:
        """Forgets the passwords."""
        _end(self._folder)
        self._lock.close()


def remove_abandoned() -> None:
    """Removes the caches of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # not made yet, or removed meanwhile
            if folder.lstat().st_uid == os.geteuid():
                with _owner(folder).open() as lock:
                    if try_lock(lock.fileno()):
                        _end(folder)


def _end(folder: Path) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        command = ["git", "credential-cache", "--socket", str(_socket(folder)), "exit"]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=END_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> Path:
    """The file that the owner of a cache holds locked."""
    return folder / "owner"


def _socket(folder: Path) -> Path:
    return folder / "socket"
