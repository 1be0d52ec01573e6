"""What a worker does with an assignment, as its coordinator sees it."""

from __future__ import annotations

from collections.abc import Callable

from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from tests.daemon.scripted import Running, Scripted, assignment
from tests.daemon.standin import StandinEngine

Start = Callable[..., Running]


def test_a_job_runs_and_its_log_is_complete_before_its_final_status(
    coordinator: Scripted, engine: StandinEngine, run_worker: Start
) -> None:
    run_worker()
    coordinator.assign(assignment("7.1", "echo hello; echo world"))
    final = coordinator.final("7.1")
    assert (final.status, final.exit_code, final.log_length) == (S.SUCCESS, 0, len(b"hello\nworld\n"))
    assert coordinator.log("7.1") == b"hello\nworld\n"
    assert coordinator.statuses["7.1"] == [S.PREPARING, S.RUNNING, S.SUCCESS]
    engine.await_step("remove", "7.1")
