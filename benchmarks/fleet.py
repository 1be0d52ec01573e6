"""Starts Longshore's processes for a benchmark, as a user would, and runs plans and pipeline files on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import zmq

from protocol.addresses import reachable_feed
from protocol.client import Client
from protocol.codec import decode_event, each_event
from protocol.dealer import connect_socket
from protocol.events import STATE_TOPIC, AnyEvent, RunChanged
from protocol.plan import Plan
from protocol.statuses import ENDED, ExecutionStatus

ROOT = Path(__file__).parent.parent
LONGSHORE = str(Path(sys.executable).parent / "longshore")
WORKERS = {
    "docker": [LONGSHORE, "worker"],
    "noop": [sys.executable, "-m", "benchmarks.noop_worker"],
    "timeless": [sys.executable, "-m", "benchmarks.timeless_worker", "worker"],
}
"""Commands of workers by what they do."""
PATIENCE = 600.0
"""Timeout in seconds of any wait in a benchmark."""
POLL = 0.01

T = TypeVar("T")


class BenchmarkFailed(Exception):
    """Longshore failed during a measurement, which makes the number worthless."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory on the disk."""
    path = Path(tempfile.mkdtemp(prefix="longshore-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(slots=True)
class Fleet:
    """A coordinator and its workers, in processes of their own."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Environment for commands that use this fleet; without a coordinator, its state directory."""
        chosen = {key: value for key, value in os.environ.items() if not key.startswith(("LONGSHORE_", "CI"))}
        chosen |= {"LONGSHORE_STATE": str(self.folder / "state"), "PYTHONPATH": str(ROOT)}
        chosen |= {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return chosen | ({"LONGSHORE_COORDINATOR": self.address} if self.address else {})

    def start(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a process with its output in a file of that name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment() | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def start_coordinator(self) -> subprocess.Popen[bytes]:
        """Starts the coordinator and waits until it listens."""
        command = [LONGSHORE, "coordinator", "--bind", "tcp://127.0.0.1:0"]
        process = self.start(command, "coordinator")
        log = self.folder / "coordinator.log"
        self.address = str(until(lambda: self._address(process, log), "the coordinator does not listen"))
        return process

    def _address(self, process: subprocess.Popen[bytes], log: Path) -> str:
        if process.poll() is not None:
            raise BenchmarkFailed(log.read_text(errors="replace"))
        return next((line for line in log.read_text().splitlines() if line.startswith("tcp://")), "")

    def start_workers(self, count: int, *, slots: int, executor: str = "docker") -> None:
        """Starts workers and waits until they are online.

        `executor` is `docker`, `noop`, which does nothing, or `timeless`: Docker, without the times of log lines.
        """
        for number in range(count):
            options = ["--coordinator", self.address, "--name", f"{executor}-{number}", "--slots", str(slots)]
            self.start([*WORKERS[executor], *options], f"worker-{number}")
        self.await_workers(count)

    def start_worker(self, name: str, *options: str, address: str = "") -> None:
        """Starts a worker that shares no cache with others, and waits until it is online.

        `address` is where it finds the coordinator, if that is another one than its own.
        """
        command = [LONGSHORE, "worker", "--coordinator", address or self.address, "--name", name, *options]
        if address:
            command += ["--join", self.token("worker", address)]
        with Client(self.address) as client:
            count = len(client.workers())
        self.start(command, f"worker-{name}", XDG_CACHE_HOME=str(self.folder / f"cache-{name}"))
        self.await_workers(count + 1)

    def await_workers(self, count: int) -> None:
        """Waits until so many workers are online."""

        def online() -> bool:
            if any(process.poll() is not None for process in self.processes):
                said = "".join(path.read_text(errors="replace") for path in self.folder.glob("worker-*.log"))
                raise BenchmarkFailed(f"a worker has ended: {said[-2000:]}")
            return len(client.workers()) >= count

        with Client(self.address) as client:
            until(online, f"the workers do not connect; see {self.folder}")

    def token(self, role: str, address: str) -> str:
        """A join token for a coordinator that is found at another address than its own."""
        return self.longshore("token", "create", "--role", role, "--address", address).strip()

    def longshore(self, *words: str, folder: Path | None = None) -> str:
        """The output of a command. Raises BenchmarkFailed if it fails."""
        done = subprocess.run(
            [LONGSHORE, *words],
            cwd=folder or self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchmarkFailed(f"longshore {words[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def stop(self) -> None:
        """Ends the processes, in reverse order of their start."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._remove_belongings()

    def _remove_belongings(self) -> None:
        """Removes what workers keep in Docker for their next start; labels name the directory of their state."""
        for listing, removal in (
            (["ps", "--all", "--format", "{{.ID}} {{.Labels}}"], ["rm", "--force", "--volumes"]),
            (["volume", "ls", "--format", "{{.Name}} {{.Labels}}"], ["volume", "rm"]),
        ):
            found = subprocess.run(["docker", *listing], capture_output=True, text=True).stdout.splitlines()
            if ours := [line.split()[0] for line in found if f"{self.folder}/" in line]:
                subprocess.run(["docker", *removal, *ours], capture_output=True)


@contextmanager
def fleet(workers: int, *, slots: int, executor: str = "docker") -> Iterator[Fleet]:
    """A running fleet, stopped on exit."""
    with scratch() as folder:
        made = Fleet(folder)
        try:
            made.start_coordinator()
            made.start_workers(workers, slots=slots, executor=executor)
            yield made
        finally:
            made.stop()


class Submitter:
    """Submits plans and waits for their ends on the feed.

    Events are filtered by their raw bytes: decoding all of them would occupy a core.
    """

    def __init__(self, address: str) -> None:
        self.client = Client(address, timeout=60.0)
        feed = reachable_feed(address, self.client.welcome.feed)
        self._feed = connect_socket(zmq.Context.instance(), zmq.SUB, feed, receive_limit=0)
        self._feed.subscribe(STATE_TOPIC)
        if not self._feed.poll(5000):
            raise BenchmarkFailed("the feed is silent")

    def __enter__(self) -> Submitter:
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.close()
        self.client.close()

    def seconds(self, *plans: Plan, at_once: int = 1) -> float:
        """Seconds from the first submission to the last run's success, with `at_once` runs in flight.

        Raises BenchmarkFailed if a run does not succeed.
        """
        started = time.perf_counter()
        to_come = list(plans)
        left: set[int] = set()
        while left or to_come:
            while to_come and len(left) < at_once:
                left.add(self.client.submit_run(to_come.pop()))
            if not self._feed.poll(int(PATIENCE * 1000)):
                raise BenchmarkFailed("the feed is silent")
            _, *frames = self._feed.recv_multipart()
            if b"run_changed" not in frames[0]:
                continue
            for one in each_event(frames):
                if b"run_changed" in one[0]:
                    left -= ended_in(decode_event(one)[0])
        return time.perf_counter() - started


def ended_in(event: AnyEvent) -> set[int]:
    """The run whose end an event announces, if any. Raises BenchmarkFailed if it did not succeed."""
    if not isinstance(event, RunChanged) or event.run.status not in ENDED:
        return set()
    if event.run.status is not ExecutionStatus.SUCCESS:
        raise BenchmarkFailed(f"run {event.run.id} ended as {event.run.status.value}: {event.run.counts}")
    return {event.run.id}


def until(condition: Callable[[], T], problem: str) -> T:
    """The first true value of `condition`. Raises BenchmarkFailed on timeout."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise BenchmarkFailed(problem)
        time.sleep(POLL)
    return value
