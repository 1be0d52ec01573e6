"""An engine that goes away for a while: running jobs are seen through; if it stays away they fail within a bound."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies, JobFailed, Outcome
from daemon.executors.docker.executor import DockerExecutor
from protocol.statuses import FailureReason
from tests.support.docker_jobs import WORKER
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import assignment

ENGINE = "/var/run/docker.sock"


class Relay:
    """Stands between daemon and engine, and can be cut: as for the daemon, the engine is gone then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forgets = False  # to end the logs that are followed
        self._connections: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """The engine is (again) there."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(50)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """All connections break, and no new one can be made."""
        listener, self._listener = self._listener, None
        os.unlink(self.path)
        for connection in [*self._connections, *([listener] if listener else [])]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(ENGINE)
            self._connections += [near, far]
            threading.Thread(target=_relay, args=(near, far, self.forgets), daemon=True).start()


def _relay(near: socket.socket, far: socket.socket, forgets: bool) -> None:
    followed = False
    try:
        while True:
            ready, _, _ = select.select([near, far], [], [])
            for source in ready:
                data = source.recv(1 << 16)
                followed = followed or (source is near and b"follow=1" in data)
                if not data and source is far and followed and forgets:
                    return
                target = far if source is near else near
                if data:
                    target.sendall(data)
                elif source is near:
                    far.shutdown(socket.SHUT_WR)
                    near.close()
                    return
                else:
                    near.shutdown(socket.SHUT_WR)
                    far.close()
                    return
    except (OSError, ValueError):
        return


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay that is open. Its path is short wherever tests have their files: a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        relay = Relay(Path(directory) / "engine.sock")
        yield relay
        with contextlib.suppress(FileNotFoundError):
            relay.cut()


@pytest.fixture
def behind(relay: Relay, executor: DockerExecutor) -> DockerExecutor:
    """An executor whose engine is behind the relay."""
    return DockerExecutor(WORKER, f"unix://{relay.path}", coordinator=WORKER)


def test_a_job_s_log_and_end_survive_an_engine_that_drops_its_connections(behind: DockerExecutor, relay: Relay) -> None:
    sandbox = behind.sandbox(assignment("for i in $(seq 30); do echo line $i; sleep 0.1; done", "exit 6"))
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    log = bytearray()
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=sandbox.follow_log, args=(0, log.extend)),
        threading.Thread(target=lambda: outcomes.append(sandbox.wait())),
    ]
    for thread in threads:
        thread.start()
    for seen in (b"line 5\n", b"line 15\n"):
        eventually(partial(log.__contains__, seen))
        relay.cut()
        time.sleep(0.5)
        relay.open()
    for thread in threads:
        thread.join(60)
    assert [outcome.exit_code for outcome in outcomes] == [6]
    assert log.decode().splitlines()[1:] == [*(f"line {number}" for number in range(1, 31)), "$ exit 6"]


def test_a_log_ends_with_its_container_though_the_engine_forgets_to_end_it(
    behind: DockerExecutor, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.executors.docker.logs.stored.QUIET_SECONDS", 0.2)
    relay.forgets = True
    job = assignment("echo begun", "sleep 600")
    before = behind.sandbox(job)
    before.prepare(None)
    before.release(Dependencies())
    after = behind.sandbox(job)  # of a daemon that was started meanwhile, and has only the stored log
    log = bytearray()

    def sink(data: bytes) -> None:
        log.extend(data)
        if log.endswith(b"$ sleep 600\n"):
            after.kill()

    follower = threading.Thread(target=after.follow_log, args=(0, sink), daemon=True)
    follower.start()
    follower.join(60)
    assert not follower.is_alive(), "it still waits for an end of the log"
    assert log == b"$ echo begun\nbegun\n$ sleep 600\n"


def test_a_held_job_is_released_over_a_new_connection(behind: DockerExecutor, relay: Relay) -> None:
    sandbox = behind.sandbox(assignment("echo open"))
    sandbox.prepare(None)
    sandbox.hold()
    relay.cut()
    relay.open()
    sandbox.release(Dependencies())
    log = bytearray()
    sandbox.follow_log(0, log.extend)
    assert sandbox.wait().exit_code == 0
    assert log == b"$ echo open\nopen\n"


def test_an_engine_that_is_away_for_long_fails_the_job_within_a_bound(executor: DockerExecutor, relay: Relay) -> None:
    behind = DockerExecutor(WORKER, f"unix://{relay.path}", coordinator=WORKER, patience=3.0)
    sandbox = behind.sandbox(assignment("sleep 600"))
    sandbox.prepare(None)
    sandbox.release(Dependencies())
    relay.cut()
    asked = time.monotonic()
    with pytest.raises(JobFailed, match="no Docker engine answers") as failed:
        sandbox.wait()
    assert failed.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert 2 < time.monotonic() - asked < DEADLINE
    with pytest.raises(JobFailed):
        behind.sandbox(assignment("true")).prepare(None)
