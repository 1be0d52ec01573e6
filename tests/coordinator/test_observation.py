"""Those who watch a coordinator see what it has settled, and can't disturb it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from coordinator.engine.effects import Turn
from coordinator.engine.state import Now
from coordinator.server import Coordinator
from protocol.statuses import ExecutionStatus as S
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan


class Watcher:
    """Metrics and traces in one: what they were shown."""

    def __init__(self) -> None:
        self.measured: list[tuple[float, float]] = []
        self.seen: list[tuple[str, S]] = []

    def turn_settled(self, turn: Turn, *, took: float, wrote: float) -> None:
        self.measured.append((took, wrote))


class Tracer(Watcher):
    def turn_settled(self, turn: Turn, now: Now) -> None:  # type: ignore[override]
        self.seen += [(one.plan.name, one.status) for one in turn.jobs]
        raise RuntimeError("a tracer that fails")


def test_each_change_is_seen_once_it_is_durable_and_a_failing_observer_disturbs_nothing(tmp_path: Path) -> None:
    metrics, traces = Watcher(), Tracer()
    kind = partial(Coordinator, metrics=metrics, traces=traces)
    with Running(tmp_path, kind=kind) as running, running.client() as client:  # type: ignore[arg-type]
        worker = WireWorker(running.address)
        worker.hello()
        run = client.submit_run(plan(job("a", "build")))
        worker.run(b"log\n")
        eventually(lambda: client.get_run(run).status is S.SUCCESS)
        worker.close()
        assert running.alive
    assert traces.seen[-1] == ("a", S.SUCCESS)
    assert [status for _, status in traces.seen if status is S.RUNNING]
    assert all(took >= wrote >= 0 for took, wrote in metrics.measured)
