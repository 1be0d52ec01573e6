"""What the worker needs of an executor, and the small types that pass between them. Knows no engine.

All methods block; the worker calls them from the job's own thread. A job goes through: prepare, hold, release,
follow_log + wait, collect, remove. `registry` finds executors by name; docs/executors.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from protocol.messages import Assignment, Dependency
from protocol.statuses import FailureReason
from protocol.views import Capability


class JobFailed(Exception):
    """The attempt can't go on, for a reason that is the job's result."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(Exception):
    """`Sandbox.interrupt` was called while a step waited."""


@dataclass(frozen=True, slots=True)
class Found:
    """An attempt whose container was found by its labels when the daemon started."""

    attempt: str
    state: str  # "created" (not started), "held" (started, at its gate), "running" (released) or "exited"
    released_mono: float = 0.0  # when it was released, by this process's monotonic clock; its timeout counts from there
    lease: float | None = None  # that of its assignment


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a container ended. `ran_for` is seconds from release to end, by the engine's own times.

    `failure` says what ended it if neither the script nor this daemon did: the engine, an operator. `expired`: the
    script ran longer than the job's variable RUNNER_SCRIPT_TIMEOUT says.
    """

    exit_code: int
    oom_killed: bool = False
    ran_for: float = 0.0
    failure: str = ""
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Collected:
    """One file set taken out of the ended container, as a gzipped tar (or plain report file) on the worker's disk."""

    kind: str  # "archive", "dotenv" or "junit"
    path: Path
    name: str = ""


@dataclass(slots=True)
class Dependencies:
    """What release lays in: the dependencies in order, and where their archives lie on this host."""

    states: list[Dependency] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)


class Workspace(Protocol):
    """A run's snapshot of its project on this host, in whatever form it came. It may be used by several attempts."""

    def names(self) -> frozenset[str]:
        """All files and directories, relative to the project's."""

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """A hash of the content of each file that is `wanted`, by name; of a link, of its target too."""

    def tar(self) -> Path:
        """All of it as a tar, plain or gzipped, for an engine that takes archives."""


class Sandbox(Protocol):
    """One attempt's container and all that belongs to it (network, services, volumes)."""

    @property
    def warnings(self) -> Sequence[str]:
        """For people: what was odd but fails nothing."""
        return ()

    @property
    def lingers(self) -> float:
        """Seconds that what the script has ran in takes to end by itself; to remove it sooner costs more."""
        return 0.0

    @property
    def after_seconds(self) -> float | None:
        """How long after_script may take, if the job says so itself."""
        return None

    def prepare(self, workspace: Workspace | None) -> None:
        """Pulls the image, makes network and services, creates the container, lays the workspace in.

        `workspace` is what the project directory holds before the job. Idempotent: a container that is there is used.
        Raises JobFailed (image_pull_failure with the engine's message, service_unhealthy, runner_system_failure).
        """

    def hold(self) -> None:
        """Starts the container; its shell waits at the gate and uses no CPU."""

    def release(self, dependencies: Dependencies) -> None:
        """Lays the dependencies' artifacts in and opens the gate with the final variables. Starts it if not held.

        It waits for an entrypoint of the image that is at work before the gate. Raises JobFailed, Interrupted.
        """

    def interrupt(self) -> None:
        """Ends that wait: the attempt is not wanted any more. Returns at once."""
        return

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        """Gives the log's bytes from `offset` on to `sink` as they come, until the container has ended.

        `sink` may block (credit); the bytes then stay in the engine's log. Survives an engine that drops the stream.
        """

    def wait(self) -> Outcome:
        """Blocks until the container has ended, whoever ended it."""

    def prolong(self, seconds: float) -> None:
        """Lets a job with a lease go on for so long; without another call it then ends, whoever else is gone."""

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        """SIGTERM to the script, after `grace` seconds SIGKILL to it; after_script still runs. Returns at once.

        `canceled` is for after_script's CI_JOB_STATUS: `canceled`, else (a timeout) `failed`.
        """

    def kill(self) -> None:
        """SIGKILL to the whole container, now."""

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        """Takes artifacts and reports out of the ended container, as their `when` says; saves caches."""

    def service_logs(self) -> dict[str, bytes]:
        """What the services have written so far, by alias, bounded; empty when there are none."""

    def remove(self) -> None:
        """Removes container, services, network and volumes; no error if they are gone."""


class Executor(Protocol):
    """Makes sandboxes on one engine. `kind` is its name; `capabilities` are what it can do."""

    kind: str
    capabilities: frozenset[Capability]

    def facts(self) -> str:
        """One line about the engine for people. Raises EngineUnavailable."""

    def find(self) -> list[Found]:
        """This worker's attempts found on the engine, but for those whose containers are on their way out.

        Raises EngineUnavailable.
        """

    def sandbox(self, assignment: Assignment) -> Sandbox:
        """The sandbox of an attempt, new or found."""

    def execute(self, sandbox: Sandbox, dependencies: Dependencies | None, opened: Callable[[], None]) -> Outcome:
        """Runs the job inside its sandbox: `release`, then `opened()`, then `wait`, whose outcome it returns.

        `dependencies` of None: it was released before this daemon started, and only its end is waited for.
        """

    def discard(self, attempt: str) -> None:
        """Removes all that belongs to an attempt that nobody wants, by its labels alone."""

    def sweep(self, keep: set[str]) -> int:
        """Removes what carries this worker's labels and belongs to no attempt in `keep`, and caches that are too old.

        Returns how many objects it has removed from the engine.
        """

    def strangers(self) -> set[str]:
        """Other workers of the same coordinator that have left things here which are older than a day."""
        return set()

    def clear(self, worker: str) -> int:
        """Removes what such a worker has left that is older than a day; it is sure that nobody wants it.

        Returns how many objects it has removed from the engine.
        """
        return 0

    def close(self) -> None:
        """Removes what is there for jobs to come: the daemon ends. An executor that keeps nothing has nothing to do."""
        return
