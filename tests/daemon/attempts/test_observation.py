"""Those who watch a worker see what it has carried out, and can't disturb it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daemon.attempts import instructions as i
from protocol import messages as m
from protocol.statuses import ExecutionStatus as S
from tests.support.eventually import eventually
from tests.support.fake_coordinator import FakeCoordinator, RunningWorker
from tests.support.plans import assignment


class Meter:
    """Metrics: the time that each turn took, with the number of its instructions."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, float]] = []

    def turn_settled(self, turn: Sequence[i.Instruction], *, took: float) -> None:
        self.turns.append((len(turn), took))


class FailingTracer:
    """Traces: the attempts' steps. Fails each time."""

    def __init__(self) -> None:
        self.steps: list[object] = []
        self.times: list[float] = []

    def turn_settled(self, turn: Sequence[i.Instruction], now: float) -> None:
        self.times.append(now)
        for one in turn:
            if isinstance(one, i.Send) and isinstance(one.message, m.JobStatus | m.JobStatuses):
                statuses = [one.message] if isinstance(one.message, m.JobStatus) else one.message.statuses
                self.steps += [status.status for status in statuses]
            elif isinstance(one, i.StartRunner | i.OpenGate | i.Settle | i.Forget):
                self.steps.append(type(one))
        raise RuntimeError("a tracer that fails")


def test_each_step_of_an_attempt_is_seen_in_order_and_a_failing_observer_disturbs_nothing(
    coordinator: FakeCoordinator, run_worker: Callable[..., RunningWorker]
) -> None:
    metrics, traces = Meter(), FailingTracer()
    worker = run_worker(metrics=metrics, traces=traces, ack_timeout=30.0)
    coordinator.assign(assignment("echo hello", attempt="7.1"))
    assert coordinator.final("7.1").status is S.SUCCESS
    eventually(lambda: i.Forget in traces.steps)
    assert traces.steps == [S.PREPARING, i.StartRunner, i.OpenGate, S.RUNNING, S.SUCCESS, i.Settle, i.Forget]
    assert traces.times == sorted(traces.times)
    assert len(metrics.turns) >= len(traces.times)
    assert all(count > 0 and took >= 0 for count, took in metrics.turns)
    assert worker.alive
