"""An executor without containers, for tests and load benchmarks of the real daemon.

A job's script runs as a local shell process; the script `noop` ends at once without one. What Docker would remember
across a daemon's restart is kept in the `FakeEngine`, which outlives executors.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

from daemon.executors.base import (
    CheckoutOptions,
    Collected,
    Dependencies,
    Executor,
    Found,
    JobFailed,
    Outcome,
    Sandbox,
    Workspace,
)
from protocol.messages import Assignment
from protocol.views import Capability
from tests.support.eventually import DEADLINE


@dataclass(eq=False)
class Box:
    """One attempt's "container": log, process and exit state."""

    attempt: str
    state: str = "created"
    log: bytearray = field(default_factory=bytearray)
    changed: threading.Condition = field(default_factory=threading.Condition)
    process: subprocess.Popen[bytes] | None = None
    released_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    failure: str = ""
    lease: float | None = None
    dependencies: Dependencies | None = None
    workspace: bytes | None = None

    def set_state(self, state: str) -> None:
        with self.changed:
            self.state = state
            self.changed.notify_all()

    def write(self, data: bytes) -> None:
        """Appends to the log."""
        with self.changed:
            self.log += data
            self.changed.notify_all()

    def end(self, exit_code: int) -> None:
        """The container ends."""
        with self.changed:
            if self.state != "exited":
                self.exit_code = exit_code
                self.ended_at = time.monotonic()
                self.state = "exited"
                self.changed.notify_all()

    def await_state(self, state: str, timeout: float = DEADLINE) -> bool:
        """For tests: whether the box comes into a state in time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.state == state, timeout)


def until(told: Path) -> str:
    """A command of a script that goes on until there is a file."""
    return f"until [ -e {told} ]; do sleep 0.02; done"


@dataclass(eq=False)
class FakeEngine:
    """The "engine": boxes by attempt, and everything that was done to them."""

    boxes: dict[str, Box] = field(default_factory=dict)
    made: dict[str, Box] = field(default_factory=dict)  # the newest of each attempt, removed or not
    history: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    prepare_gate: threading.Event = field(default_factory=threading.Event)  # cleared: prepare blocks, as a pull would
    removal_gate: threading.Event = field(default_factory=threading.Event)  # cleared: what is discarded stays so long
    prepare_error: JobFailed | None = None
    artifacts: dict[str, list[tuple[str, str, bytes]]] = field(default_factory=dict)  # job -> (kind, name, content)
    service_logs: dict[str, bytes] = field(default_factory=dict)
    shows_services: bool = False
    strangers: set[str] = field(default_factory=set)  # other workers that have left something here
    stubborn: bool = False  # scripts survive SIGTERM, as a trap would make them
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.prepare_gate.set()
        self.removal_gate.set()

    def note(self, step: str, attempt: str) -> None:
        with self.changed:
            self.history.append((step, attempt))
            self.changed.notify_all()

    def steps(self, attempt: str) -> list[str]:
        """What was done to an attempt, in order."""
        return [step for step, name in self.history if name == attempt]

    def await_step(self, step: str, attempt: str, timeout: float = DEADLINE) -> None:
        """For tests: waits until something was done to an attempt. Raises AssertionError after `timeout`."""
        with self.changed:
            done = self.changed.wait_for(lambda: (step, attempt) in self.history, timeout)
        assert done, f"{attempt} never came to {step}: {self.history}"

    def kill_all(self) -> None:
        """Ends what a test leaves running."""
        for box in list(self.boxes.values()):
            if box.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(box.process.pid, signal.SIGKILL)


class FakeSandbox(Sandbox):
    """One attempt on the fake engine."""

    def __init__(self, engine: FakeEngine, assignment: Assignment) -> None:
        self.engine = engine
        self.assignment = assignment
        self.attempt = assignment.attempt

    @property
    def box(self) -> Box:
        return self.engine.boxes[self.attempt]

    def prepare(self, workspace: Workspace | None) -> None:
        self.engine.note("prepare", self.attempt)
        self.engine.prepare_gate.wait()
        if self.engine.prepare_error:
            raise self.engine.prepare_error
        box = self.engine.made[self.attempt] = self.engine.boxes.setdefault(self.attempt, Box(self.attempt))
        box.workspace = workspace.checkout(CheckoutOptions()).tar().read_bytes() if workspace else None
        self.engine.note("prepared", self.attempt)

    def hold(self) -> None:
        self.box.set_state("held")
        self.engine.note("hold", self.attempt)

    def release(self, dependencies: Dependencies) -> None:
        self.engine.note("release", self.attempt)
        box = self.box
        box.dependencies = dependencies
        box.released_at = time.monotonic()
        box.set_state("running")
        script = "\n".join(self.assignment.job.script)
        if script == "noop":
            box.end(0)
            return
        environment = dict(os.environ)
        for dependency in dependencies.states:
            environment |= dependency.variables
        box.process = subprocess.Popen(
            ["/bin/sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
        threading.Thread(target=self._watch, args=(box,), daemon=True).start()

    def _watch(self, box: Box) -> None:
        assert box.process is not None
        assert box.process.stdout is not None
        while data := os.read(box.process.stdout.fileno(), 65536):
            box.write(data)
        box.process.stdout.close()
        code = box.process.wait()
        box.end(code if code >= 0 else 128 - code)

    def follow_log(self, offset: int, sink: Callable[[bytes], None]) -> None:
        box = self.box
        while True:
            with box.changed:
                while len(box.log) <= offset and box.state != "exited":
                    box.changed.wait()
                data = bytes(box.log[offset : offset + 65536])
            if not data:
                return
            sink(data)
            offset += len(data)

    def wait(self) -> Outcome:
        box = self.box
        with box.changed:
            box.changed.wait_for(lambda: box.state == "exited")
        return Outcome(box.exit_code, box.oom_killed, max(0.0, box.ended_at - box.released_at), box.failure)

    @property
    def after_seconds(self) -> float | None:
        """See Sandbox."""
        return None

    def interrupt(self) -> None:
        """See Sandbox."""

    def prolong(self, seconds: float) -> None:
        self.engine.note("prolong", self.attempt)

    def stop(self, grace: float, *, canceled: bool = True) -> None:
        self.engine.note("stop" if canceled else "stop as failed", self.attempt)
        if not self.engine.stubborn:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self.engine.note("kill", self.attempt)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        box = self.engine.boxes.get(self.attempt)
        if box is None:
            return
        if box.process is None:
            box.end(128 + number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(box.process.pid, number)

    def collect(self, directory: Path, *, succeeded: bool) -> list[Collected]:
        self.engine.note("collect", self.attempt)
        collected = []
        for number, (kind, name, content) in enumerate(self.engine.artifacts.get(self.assignment.job.name, ())):
            path = directory / f"{number}.{kind}"
            path.write_bytes(content)
            collected.append(Collected(kind, path, name))
        return collected

    def service_logs(self) -> dict[str, bytes]:
        return self.engine.service_logs

    @property
    def shows_services(self) -> bool:
        return self.engine.shows_services

    def remove(self) -> None:
        box = self.engine.boxes.pop(self.attempt, None)
        if box is not None and box.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(box.process.pid, signal.SIGKILL)
        self.engine.removed.append(self.attempt)
        self.engine.note("remove", self.attempt)


class FakeExecutor(Executor):
    """Makes fake sandboxes; several executors on one engine are one worker's lives, one after the other."""

    kind = "fake"
    capabilities = frozenset(Capability)

    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = engine or FakeEngine()

    def facts(self) -> str:
        return "fake"

    def find(self) -> list[Found]:
        return [Found(box.attempt, box.state, box.released_at, box.lease) for box in self.engine.boxes.values()]

    def sandbox(self, assignment: Assignment) -> FakeSandbox:
        return FakeSandbox(self.engine, assignment)

    def discard(self, attempt: str) -> None:
        self.engine.note("discarding", attempt)
        self.engine.removal_gate.wait()
        box = self.engine.boxes.pop(attempt, None)
        if box is not None and box.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(box.process.pid, signal.SIGKILL)
        self.engine.note("discard", attempt)

    def sweep(self, keep: Container[str]) -> int:
        gone = [attempt for attempt in list(self.engine.boxes) if attempt not in keep]
        for attempt in gone:
            self.discard(attempt)
        self.engine.note("sweep", "")
        return len(gone)

    def strangers(self) -> set[str]:
        return set(self.engine.strangers)

    def clear(self, worker: str) -> int:
        self.engine.strangers.discard(worker)
        self.engine.note("clear", worker)
        return 1
