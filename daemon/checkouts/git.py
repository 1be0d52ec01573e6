"""Runs git on bare repositories of our own, without the host's configuration and with limits: packs are untrusted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any

import msgspec

from daemon.executors.base import Interrupted, JobFailed
from protocol.statuses import FailureReason

NOWHERE = "/dev/null"
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": NOWHERE,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "HOME": NOWHERE,
    "XDG_CONFIG_HOME": NOWHERE,
    "LC_ALL": "C",
}
SETTINGS = (
    "safe.directory=*",
    "gc.auto=0",
    "core.bigFileThreshold=32m",  # larger blobs are streamed, not held in memory
    "pack.writeReverseIndex=false",
    "core.commitGraph=false",
)
MEMORY_KIB = 8 << 20
"""Address space of a git process: the greatest delta that can be resolved takes three times its size."""
LONGEST_SECONDS = 600
"""CPU time of a git process, beside a share for the size of its input."""
BYTES_PER_SECOND = 1 << 20
LAST_WORDS = 500
PAUSE_SECONDS = 0.05
"""Time between two looks at what another attempt makes."""


class BadWorkspace(JobFailed):
    """A workspace is refused, or can't be checked out; the message names the cause."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureReason.RUNNER_SYSTEM_FAILURE, f"the workspace can't be checked out: {message}")


class GitFailed(BadWorkspace):
    """A git command failed; `said` is its message."""

    def __init__(self, command: str, said: bytes, status: int) -> None:
        self.said = said
        words = said.decode(errors="replace").strip()[-LAST_WORDS:]
        reason = words or f"ended by signal {-status}: it exceeded its limits of time or memory"
        super().__init__(f"git {command}: {reason}")


def command_line(repository: Path, arguments: Sequence[str], size: int = 0) -> list[str]:
    """A git command under limits, in a bare repository; `size` is its input's, in bytes."""
    seconds = LONGEST_SECONDS + size // BYTES_PER_SECOND
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    # A limit that can't be set is lower already.
    limits = f'ulimit -v {MEMORY_KIB} 2>/dev/null || :; ulimit -t {seconds} 2>/dev/null || :; exec "$@"'
    return ["/bin/sh", "-c", limits, "sh", "git", f"--git-dir={repository}", *settings, *arguments]


def environment() -> dict[str, str]:
    """The environment of git processes: nothing of the worker's but where programs are."""
    return ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath)}


def no_git() -> BadWorkspace:
    """The error for a host without git."""
    return BadWorkspace(
        "this worker's host has no git: install it there (apt-get install git), or run the job on another worker"
    )


class Processes:
    """The git processes of one attempt, and its waits for those of others, which `interrupt` ends. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._interrupted = Event()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._interrupted.is_set()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts a process; call `forget` after its end. Raises Interrupted."""
        with self._lock:
            if self.interrupted:
                raise Interrupted
            process = subprocess.Popen(command, **options)
            self._running.add(process)
            return process

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """The process has ended."""
        with self._lock:
            self._running.discard(process)

    def pause(self) -> None:
        """Waits a moment for what another attempt makes. Raises Interrupted, at once."""
        if self._interrupted.wait(PAUSE_SECONDS):
            raise Interrupted

    def interrupt(self) -> None:
        """Ends all processes; `start` raises Interrupted from now on."""
        with self._lock:
            self._interrupted.set()
            running = list(self._running)
        for process in running:
            process.kill()


class BareRepository(msgspec.Struct, frozen=True):
    """A bare repository of ours, and who runs git there."""

    path: Path
    processes: Processes

    def start(self, *arguments: str, size: int = 0, bufsize: int = -1) -> subprocess.Popen[bytes]:
        """Starts git with pipes for stdin and stdout. Raises Interrupted."""
        return self.processes.start(
            command_line(self.path, arguments, size),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            cwd=self.path,
            bufsize=bufsize,
        )

    def run(self, *arguments: str, told: bytes = b"", file: Path | None = None, size: int = 0) -> bytes:
        """Runs git with `told` or a `file` on stdin. Returns its output. Raises BadWorkspace, Interrupted."""
        with ExitStack() as closing:
            stdin = closing.enter_context(file.open("rb")) if file is not None else subprocess.PIPE
            process = self.processes.start(
                command_line(self.path, arguments, size),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
                cwd=self.path,
            )
            try:
                output, errors = process.communicate(told if file is None else None)
            finally:
                end(process)
                self.processes.forget(process)
        if process.returncode != 0 and self.processes.interrupted:
            raise Interrupted
        if process.returncode == 127:
            raise no_git()
        if process.returncode != 0:
            raise GitFailed(arguments[0], errors, process.returncode)
        return output


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a git process, unless it has ended, and closes its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(BrokenPipeError):
            if pipe:
                pipe.close()
    process.wait()


def lines(ids: Iterable[str]) -> bytes:
    """Input of a git command: one id per line."""
    return "".join(f"{one}\n" for one in ids).encode()
