"""An executor with virtual containers: state in files, time by the clock; it outlives the daemon as Docker's would.

A job's script is `SECONDS EXIT-CODE`: it ends that long after its release with that code, and its log is its own name.
A second release of a container, which must not happen, is recorded: `doubles` lists them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from pathlib import Path

from daemon.executors.base import Collected, Dependencies, Executor, Found, Outcome, Sandbox, Workspace
from protocol.messages import Assignment
from protocol.views import Capability

DOUBLES = "doubles"


class VirtualSandbox(Sandbox):
    """One attempt: a file named after it, with its release time and its script's values."""

    def __init__(self, directory: Path, assignment: Assignment) -> None:
        self._path = directory / assignment.attempt
        self._doubles = directory / DOUBLES
        seconds, code = assignment.job.script[0].split()
        self._seconds, self._code = float(seconds), int(code)
        self._log = f"{assignment.job.name}\n".encode()
        self._stopped = False

    def prepare(self, workspace: Workspace | None) -> None:
        self._path.touch()

    def hold(self) -> None:
        pass

    def release(self, dependencies: Dependencies) -> None:
        if self._released() is not None:
            with self._doubles.open("a") as doubles:
                doubles.write(f"{self._path.name}\n")
        partial = self._path.with_name(f"{self._path.name}.part")
        partial.write_text(f"{time.time()} {self._seconds}\n")
        partial.replace(self._path)

    def _released(self) -> float | None:
        words = self._path.read_text().split()
        return float(words[0]) if words else None

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        self.wait()
        if data := self._log[offset:]:
            sink(data)

    def wait(self) -> Outcome:
        released = self._released() or time.time()
        while not self._stopped and (left := released + self._seconds - time.time()) > 0:
            time.sleep(min(left, 0.2))
        return Outcome(137 if self._stopped else self._code, ran_for=self._seconds)

    @property
    def after_seconds(self) -> float | None:
        """See Sandbox."""
        return None

    def interrupt(self) -> None:
        """See Sandbox."""

    def prolong(self, seconds: float) -> None:
        pass

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        self._stopped = True

    def kill(self) -> None:
        self._stopped = True

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        return []

    def service_logs(self) -> dict[str, bytes]:
        return {}

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class VirtualExecutor(Executor):
    """All attempts of one worker, in a directory of its own."""

    kind = "virtual"
    capabilities = frozenset({Capability.HOLD, Capability.LEASES, Capability.RECOVERY})

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def facts(self) -> str:
        return "virtual"

    def find(self) -> list[Found]:
        found = []
        for path in self._directory.iterdir():
            if path.name == DOUBLES or path.suffix == ".part":
                continue
            words = path.read_text().split()
            if not words:
                found.append(Found(path.name, "created"))
                continue
            running_for = time.time() - float(words[0])
            state = "exited" if running_for > float(words[1]) else "running"
            found.append(Found(path.name, state, time.monotonic() - running_for))
        return found

    def sandbox(self, assignment: Assignment) -> Sandbox:
        return VirtualSandbox(self._directory, assignment)

    def execute(self, sandbox: Sandbox, dependencies: Dependencies | None, opened: Callable[[], None]) -> Outcome:
        if dependencies is not None:
            sandbox.release(dependencies)
        opened()
        return sandbox.wait()

    def discard(self, attempt: str) -> None:
        (self._directory / attempt).unlink(missing_ok=True)

    def sweep(self, keep: Container[str]) -> int:
        return 0


def doubles(directory: Path) -> list[str]:
    """Attempts released twice, of all workers below `directory`."""
    return [line for path in directory.glob(f"*/{DOUBLES}") for line in path.read_text().split()]
