"""The interface between worker and executor, and its small types. Independent of any engine.

All methods block; the worker calls them from the job's own thread. A job goes through: prepare, hold, release,
follow_log + wait, collect, remove. `registry` finds executors by name; docs/executors.md explains how to write one.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from protocol.messages import Assignment, Dependency, Signal, Terminal
from protocol.statuses import FailureReason
from protocol.views import Capability

DESCRIPTION = "description"
"""The kind of a collected file that has a release's description."""


class JobFailed(Exception):
    """The attempt can't continue; the reason becomes the job's result."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(Exception):
    """`Sandbox.interrupt` was called while a step waited."""


class Slot(msgspec.Struct, frozen=True):
    """A running job's number among those of its worker, and among those of its project there; both count from 0.

    Its variables CI_CONCURRENT_ID and CI_CONCURRENT_PROJECT_ID: no other job that runs at the same time has them.
    """

    number: int = 0
    of_project: int = 0


class Found(msgspec.Struct, frozen=True):
    """An attempt whose container was found by its labels when the daemon started."""

    attempt: str
    state: str  # "created" (not started), "held" (started, at its gate), "running" (released) or "exited"
    released_mono: float = 0.0  # time of its release, by this process's monotonic clock; start of its timeout
    lease: float | None = None  # its assignment's lease
    slot: Slot | None = None  # that of a running one, if known
    over: bool = False  # its script has ended, and its container stays to be kept


class Outcome(msgspec.Struct, frozen=True):
    """A container's end. `ran_for` is seconds from release to end, by the engine's own times.

    `failure` names the cause if neither the script nor this daemon ended it: the engine, an operator. `expired`: the
    script exceeded the job's variable RUNNER_SCRIPT_TIMEOUT.
    """

    exit_code: int
    oom_killed: bool = False
    ran_for: float = 0.0
    failure: str = ""
    expired: bool = False


class Collected(msgspec.Struct, frozen=True):
    """One file set from the ended container, as a compressed tar (or plain report file) on the worker's disk.

    `kind` is "archive", "pages", "description" (of a release) or the kind of report; `digest` is the file's sha256, if
    known. `paths` are an archive's patterns, expanded and relative to the project directory. `workspace`, of a coverage
    report, are the names of the files that it may be about. Of pages, `files` is their number and `bytes` the sum of
    their sizes.
    """

    kind: str
    path: Path
    name: str = ""
    digest: str = ""
    paths: Sequence[str] = ()
    workspace: frozenset[str] = frozenset()
    files: int = 0
    bytes: int = 0


class Dependencies(msgspec.Struct):
    """A release's input: the dependencies in order, the paths of their archives on this host, and the job's slot."""

    states: list[Dependency] = []
    archives: list[Path] = []
    slot: Slot = Slot()


class CheckoutOptions(msgspec.Struct, frozen=True):
    """A job's checkout options: GitLab's variables GIT_STRATEGY, GIT_DEPTH, ..., parsed.

    `depth` 0 is the whole history, also for `submodule_depth`. Without `files` (GIT_CHECKOUT: "false") only `.git` is
    there. `submodules` is "none", "normal" or "recursive"; `submodule_paths` are pathspecs that choose among them.
    """

    depth: int = 20
    files: bool = True
    submodules: str = "none"
    submodule_paths: tuple[str, ...] = ()
    submodule_depth: int = 20


class Layer(msgspec.Struct, frozen=True):
    """A part of a project directory that jobs may share, read-only.

    `key` identifies its content, owner and modes: equal keys, equal layers. `size` is the sum of its files, in bytes.
    `archive` streams it as a tar, relative to the project directory, each directory before its content; a character
    device 0:0 removes the lower layers' file or directory of that name. It may be called again; raises BadArchive,
    OSError.
    """

    key: str
    size: int
    archive: Callable[[], Iterator[bytes]]


class Checkout(Protocol):
    """A run's snapshot, checked out for one job."""

    @property
    def size(self) -> int:
        """Total size of all files in bytes: the cost of a job without shared layers."""

    def names(self) -> frozenset[str]:
        """All files and directories, relative to the project directory, without `.git`."""

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """Content hashes of the `wanted` files, by name; a symbolic link's hash covers its target too."""

    def tar(self) -> Path:
        """All of it as a tar, plain or compressed, with owner 0, for an engine that takes archives."""

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """All of it as layers, lowest first, owned by this user and group; if `opened`, everybody may write to it."""


class Workspace(Protocol):
    """A run's snapshot of its project on this host, in any form. Several attempts may use it.

    Methods of it and of its checkouts raise BadArchive, OSError, LongshoreError.
    """

    is_plain: ClassVar[bool] = False
    """Whether it has no repository: a job that wants no files of it then gets an empty project directory."""

    def checkout(self, options: CheckoutOptions) -> Checkout:
        """The snapshot, checked out with a job's options."""


class CommandFailed(Exception):
    """A command of a person can't be run, or goes on without us; the message says why."""


class Command(Protocol):
    """A command that a person runs in a job's container. Its methods may be called from several threads.

    Those that send something to it raise CommandFailed if it has ended.
    """

    def follow(self, sink: Callable[[int, bytes], None], quiet: Callable[[], None]) -> int:
        """Passes its output to `sink`, which may block, with the stream's number: 1 (stdout) or 2. Returns its exit
        status. Calls `quiet` when no more has come for a moment. Raises CommandFailed if its container is gone.
        """

    def write(self, data: bytes) -> None:
        """More of its stdin. Blocks while it does not read."""

    def end_input(self) -> None:
        """Its stdin ends."""

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has another size."""

    def signal(self, signal: Signal) -> None:
        """A signal for its processes."""

    def end(self) -> None:
        """Nobody waits for it any more: SIGHUP to its processes, and soon SIGKILL. `follow` then returns."""


class Sandbox(Protocol):
    """One attempt's container and everything that belongs to it (network, services, volumes)."""

    @property
    def warnings(self) -> Sequence[str]:
        """Non-fatal problems, for people."""
        return ()

    @property
    def lingers(self) -> float:
        """Seconds that the script's environment takes to end by itself; an earlier removal costs more."""
        return 0.0

    @property
    def after_seconds(self) -> float | None:
        """Time limit of after_script, if the job sets one."""
        return None

    def prepare(self, workspace: Workspace | None) -> None:
        """Pulls the image, creates network and services, creates the container, unpacks the workspace.

        `workspace` is the initial content of the project directory. Idempotent: an existing container is used.
        Raises JobFailed (image_pull_failure with the engine's message, service_unhealthy, runner_system_failure).
        """

    def hold(self) -> None:
        """Starts the container; its shell waits at the gate and uses no CPU."""

    def release(self, dependencies: Dependencies) -> None:
        """Unpacks the dependencies' artifacts and opens the gate with the final variables. Starts it if not held.

        Waits for an image's entrypoint that works before the gate. Raises JobFailed, Interrupted.
        """

    def interrupt(self) -> None:
        """Ends that wait: the attempt is no longer wanted. Returns at once."""
        return

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        """Passes the log's bytes from `offset` on to `sink` as they come, until the container has ended.

        `sink` may block (credit); the bytes then stay in the engine's log. Survives an engine that drops the stream.
        """

    @property
    def read_at(self) -> float | None:
        """The time (wall clock) at which the bytes that `sink` is just given were read; None: just now."""
        return None

    def wait(self) -> Outcome:
        """Blocks until the container has ended, whoever ended it."""

    def prolong(self, seconds: float) -> None:
        """Lets a job with a lease continue for this time; without another call it ends, even if all else is gone."""

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        """SIGTERM to the script, after `grace` seconds SIGKILL to it; after_script still runs. Returns at once.

        `canceled` is for after_script's CI_JOB_STATUS: `canceled`, else (a timeout) `failed`.
        """

    def kill(self) -> None:
        """SIGKILL to the whole container, now."""

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        """Takes artifacts and reports out of the ended container, according to their `when`; saves caches."""

    def expand(self, text: str) -> str:
        """A text with the variables of the job's final environment."""
        return text

    def service_logs(self) -> dict[str, bytes]:
        """The services' output up to now, by alias, bounded; empty without services."""

    @property
    def shows_services(self) -> bool:
        """Whether the job wants that output in its log too (CI_DEBUG_SERVICES)."""
        return False

    def keep(self) -> bool:
        """After the end, if the assignment asks to keep it: leaves everything as it is, and lets go of it.

        Returns False if there is nothing left to keep: the container has ended.
        """
        return False

    def run_command(self, arguments: Sequence[str], terminal: Terminal | None) -> Command:
        """Runs a command in the released or kept container, with the job's variables, in its project directory; without
        `arguments`, a shell for people. Raises CommandFailed.
        """
        raise CommandFailed("the executor of this worker can't run commands in a job's container")

    def remove(self) -> None:
        """Removes container, services, network and volumes; no error if they are gone."""


class Executor(Protocol):
    """Creates sandboxes on one engine. `kind` is its name; `capabilities` are its features."""

    kind: str
    capabilities: frozenset[Capability]

    def facts(self) -> str:
        """One line about the engine for people. The first call may block, and raises EngineUnavailable; later ones
        return at once: each hello has what is known by then.
        """

    def find(self) -> list[Found]:
        """This worker's attempts on the engine, without those whose containers are being removed.

        Raises EngineUnavailable.
        """

    def sandbox(self, assignment: Assignment) -> Sandbox:
        """The sandbox of an attempt, new or found."""

    def execute(self, sandbox: Sandbox, dependencies: Dependencies | None, opened: Callable[[], None]) -> Outcome:
        """Runs the job inside its sandbox: `release`, then `opened()`, then `wait`, whose outcome it returns.

        `dependencies` is None if it was released before this daemon started: then only waits for its end.
        """
        if dependencies is not None:
            sandbox.release(dependencies)
        opened()
        return sandbox.wait()

    def discard(self, attempt: str) -> None:
        """Removes everything of an unwanted attempt, by its labels alone."""

    def sweep(self, keep: Container[str]) -> int:
        """Removes objects with this worker's labels that belong to no attempt in `keep`, and expired caches.

        Returns the number of objects removed from the engine.
        """

    def strangers(self) -> set[str]:
        """Other workers of the same coordinator with leftovers here that are older than a day."""
        return set()

    def clear(self, worker: str) -> int:
        """Removes such a worker's leftovers that are older than a day; the caller knows that the worker is gone.

        Returns the number of objects removed from the engine.
        """
        return 0

    def close(self) -> None:
        """Removes spare resources kept for later jobs, at the daemon's end. The default does nothing."""
        return
