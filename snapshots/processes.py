"""Runs git for a snapshot, in a controlled environment; knows nothing of snapshots."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from protocol.errors import LongshoreError

KEPT = ("GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
"""Variables of git that choose no repository."""
ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_NO_LAZY_FETCH": "1",  # of a partial clone: nothing comes from a network
    "GIT_NO_REPLACE_OBJECTS": "1",  # objects travel as they are
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}
OPTIONS = (
    *("-c", "safe.directory=*", "-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}", "-c", "protocol.allow=never"),
)
"""Whoever may run this project's jobs may read it, whoever owns it. No program of the repository's is run."""
PIECE = 1 << 20
"""Bytes of output read at once."""


class GitFailed(LongshoreError):
    """A git command failed; the message is its own."""


class Abandoned(LongshoreError):
    """The snapshot is no longer wanted."""


class Git:
    """Runs git commands, several at a time, until `end`."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = Lock()
        self._ended = False

    def start(
        self,
        where: tuple[str, ...],
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        asked: bytes | None = None,
    ) -> subprocess.Popen[bytes]:
        """A git process in a repository: `where` are git's options that name it. Its input ends after `asked`.

        `finish` it, or read its `output`.
        """
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in KEPT}
        with self._lock:
            if self._ended:
                raise Abandoned("the snapshot was abandoned")
            try:
                process = subprocess.Popen(
                    ["git", *OPTIONS, *where, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=inherited | ENVIRONMENT | dict(environment or {}),
                )
            except FileNotFoundError:
                raise LongshoreError("git is not installed: install it (apt-get install git)") from None
            self._running.add(process)
        if asked is not None:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # its exit status tells why
                process.stdin.write(asked)
                process.stdin.flush()
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdin = None
        return process

    def output(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """The output as it comes, in large pieces; then as `finish`."""
        assert process.stdout is not None
        try:
            with suppress(OSError, AttributeError):  # Linux only
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIECE)
            while piece := os.read(process.stdout.fileno(), PIECE):
                yield piece
            self.finish(process)
        finally:
            self.forget(process)

    def finish(self, process: subprocess.Popen[bytes], asked: bytes | None = None, *, check: bool = True) -> bytes:
        """Sends `asked`, waits for the end and returns the output. Raises GitFailed, Abandoned."""
        try:
            output, errors = process.communicate(asked) if process.stdin else process.communicate()
        finally:
            self.forget(process)
        if self._ended:
            raise Abandoned("the snapshot was abandoned")
        if check and process.returncode != 0:
            said = os.fsdecode(errors).strip() or f"git ended with exit status {process.returncode}"
            raise GitFailed(f"git can't read the project: {said}")
        return output

    def run(
        self,
        where: tuple[str, ...],
        *arguments: str,
        asked: bytes = b"",
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> bytes:
        """Output of a git command. Raises GitFailed, Abandoned."""
        return self.finish(self.start(where, *arguments, environment=environment), asked, check=check)

    def check(self) -> None:
        """Raises Abandoned after `end`."""
        if self._ended:
            raise Abandoned("the snapshot was abandoned")

    @property
    def is_ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Ends a process, if it still runs."""
        if process.poll() is None:
            process.kill()
            process.wait()
        with self._lock:
            self._running.discard(process)

    def end(self) -> None:
        """Ends all processes; further ones raise Abandoned. From any thread."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            process.kill()


def in_work_tree(root: Path) -> tuple[str, ...]:
    """Options for a command in a user's repository."""
    return ("-C", str(root))
