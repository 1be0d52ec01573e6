"""Which reason for a stop wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.attempts.attempt import Attempt, Phase
from daemon.attempts.result import Result, StopReason
from daemon.attempts.runner import Runner
from daemon.attempts.stopper import Stopper
from daemon.logs.sender import LogSender
from daemon.runtime.timers import Timers
from daemon.settings import WorkerSettings
from daemon.upstream.blob_cache import BlobCache
from daemon.upstream.requests import Requests
from daemon.upstream.transfers import Transfers
from tests.support.fake_coordinator import assignment
from tests.support.fake_executor import Box, StandinEngine, StandinExecutor


class Desk:
    """A stopper with one running attempt, and what it has said."""

    def __init__(self, directory: Path) -> None:
        self.engine = StandinEngine()
        self.engine.boxes["1.1"] = Box("1.1", "running")
        self.finished: list[Result] = []
        self.timers = Timers()
        settings = WorkerSettings(state_dir=directory, name="w1")
        self.stopper = Stopper(
            settings, self.timers, lambda *_: True, lambda _, result: self.finished.append(result), lambda _: None
        )
        log = LogSender(lambda: None)
        self.job = Attempt(assignment("1.1"), log, 0, phase=Phase.RUNNING)
        requests = Requests(lambda *_: None, lambda *_: True, lambda: 0.0)
        transfer = Transfers(requests, BlobCache(directory, 1000, "w1")).open("1.1")
        self.job.runner = Runner(self.job.assignment, StandinExecutor(self.engine), transfer, log, _NoHost())


class _NoHost:
    def __getattr__(self, name: str) -> object:
        return lambda *_: None


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_cancel_outdoes_timeout_and_stops_only_once(desk: Desk) -> None:
    desk.stopper.stop(desk.job, StopReason.TIMEOUT)
    desk.engine.await_step("stop as failed", "1.1")
    desk.stopper.stop(desk.job, StopReason.CANCEL)
    assert desk.job.stop is StopReason.CANCEL
    assert desk.engine.steps("1.1") == ["stop as failed"]


@pytest.mark.parametrize("first", [StopReason.CANCEL, StopReason.TIMEOUT, StopReason.LEASE])
def test_discard_outdoes_all_and_kills(desk: Desk, first: StopReason) -> None:
    desk.stopper.stop(desk.job, first)
    desk.stopper.stop(desk.job, StopReason.DISCARD)
    assert desk.job.stop is StopReason.DISCARD
    desk.engine.await_step("kill", "1.1")


def test_nothing_is_stopped_that_has_ended(desk: Desk) -> None:
    desk.job.phase = Phase.ENDED
    desk.stopper.stop(desk.job, StopReason.CANCEL)
    assert desk.job.stop is None


def test_a_daemon_that_leaves_as_a_gate_opens_lets_the_script_run(desk: Desk) -> None:
    desk.job.stop = StopReason.LEAVE
    desk.stopper.stop_script(desk.job)
    desk.job.stop = StopReason.CANCEL
    desk.stopper.stop_script(desk.job)
    desk.engine.await_step("stop", "1.1")
    assert desk.engine.steps("1.1") == ["stop"]
