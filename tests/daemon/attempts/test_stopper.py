"""Which reason for a stop wins, and what is done about it."""

from __future__ import annotations

import pytest

from daemon.attempts.attempt import Attempt, Phase
from daemon.attempts.instructions import Instruction, Kill, StopRunner, StopScript
from daemon.attempts.result import Result, StopReason
from daemon.attempts.stopper import KILL_SLACK, Stopper
from daemon.attempts.table import AttemptTable, CoreSettings
from daemon.logs.sender import LogSender
from tests.support.plans import assignment

GRACE = 10.0


class Desk:
    """A stopper with one running attempt."""

    def __init__(self) -> None:
        self.finished: list[Result] = []
        self.table = AttemptTable()
        settings = CoreSettings(slots=1, ahead=1, grace=GRACE, after_script_timeout=300.0, holds=True, ack_timeout=5.0)
        self.stopper = Stopper(settings, self.table, lambda _, result: self.finished.append(result))
        self.attempt = Attempt(
            assignment("noop", attempt="1.1"), LogSender(lambda: None), 0, phase=Phase.RUNNING, has_runner=True
        )
        self.table.add(self.attempt)

    def stop(self, why: StopReason) -> list[Instruction]:
        self.stopper.stop(self.attempt, why)
        return self.table.take()

    def at(self, now: float) -> list[Instruction]:
        self.table.now = now
        for action in self.table.timers.due(now):
            action()
        return self.table.take()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_cancel_outdoes_timeout_and_stops_only_once(desk: Desk) -> None:
    assert StopScript("1.1", GRACE, canceled=False) in desk.stop(StopReason.TIMEOUT)
    assert desk.stop(StopReason.CANCEL) == [StopRunner("1.1", StopReason.CANCEL)]
    assert desk.attempt.stop is StopReason.CANCEL


@pytest.mark.parametrize("first", [StopReason.CANCEL, StopReason.TIMEOUT, StopReason.LEASE])
def test_discard_outdoes_all_and_kills(desk: Desk, first: StopReason) -> None:
    desk.stop(first)
    assert Kill("1.1") in desk.stop(StopReason.DISCARD)
    assert desk.attempt.stop is StopReason.DISCARD


def test_nothing_is_stopped_that_has_ended(desk: Desk) -> None:
    desk.attempt.phase = Phase.ENDED
    assert desk.stop(StopReason.CANCEL) == []
    assert desk.attempt.stop is None


def test_a_script_that_outlives_its_grace_is_killed(desk: Desk) -> None:
    desk.stop(StopReason.CANCEL)
    assert desk.at(GRACE + KILL_SLACK - 0.1) == []
    assert desk.at(GRACE + KILL_SLACK) == [Kill("1.1")]


def test_a_daemon_that_leaves_as_a_gate_opens_lets_the_script_run(desk: Desk) -> None:
    desk.attempt.stop = StopReason.LEAVE
    desk.stopper.stop_script(desk.attempt)
    assert desk.table.take() == []
