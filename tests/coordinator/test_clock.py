"""The coordinator and time: jumps of the wall clock, and times when it was not there itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from coordinator.engine.settings import Settings
from protocol import messages as m
from protocol.plan import RetrySpec
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import WorkerStatus
from tests.support.clock import Clock, looks_at_deadlines
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan

HOUR = 3600.0
MINUTES = Settings(offline_after=60.0, restart_grace=0.0, lease=60.0, lease_margin=1.0, lost_after=180.0)
"""Patience that no busy machine exhausts, and that an hour exceeds."""
IMPATIENT = Settings(offline_after=1.0, restart_grace=0.0, lease=1.0, lease_margin=1.0, lost_after=3.0)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_wall_clock_changes_no_lease_no_delay_and_no_order(tmp_path: Path, jump: float) -> None:
    clock = Clock()
    with Running(tmp_path, clock=clock, engine=MINUTES) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        delayed = job("delayed", when="delayed", start_in=60.0)
        run = client.submit_run(plan(job("moving", retry=RetrySpec(max=1, when=["runner_system_failure"])), delayed))
        attempt = worker.accept().attempt
        worker.status(attempt, 2, S.RUNNING)
        clock.wall += jump
        looked = looks_at_deadlines(running)
        while looked() < 3:
            worker.send(m.Heartbeat())
            time.sleep(0.1)
        statuses = {each.name: each.status for stage in client.get_run(run).stages for each in stage.jobs}
        assert statuses == {"moving": S.RUNNING, "delayed": S.SCHEDULED}
        assert [each.status for each in client.workers()] == [WorkerStatus.ONLINE]
        worker.status(attempt, 3, S.SUCCESS, exit_code=0, log_length=0)
        clock.mono += 60.0
        worker.send(m.Heartbeat())
        assert worker.accept().job.name == "delayed"
        later = client.submit_run(plan(job("later")))
        assert [each.id for each in client.list_runs()] == [later, run]
        worker.close()


def test_time_in_which_the_coordinator_was_not_there_counts_against_nobody(tmp_path: Path) -> None:
    clock = Clock()
    with Running(tmp_path, clock=clock) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        run = client.submit_run(plan(job("moving", retry=RetrySpec(max=1, when=["runner_system_failure"]))))
        worker.status(worker.accept().attempt, 2, S.RUNNING)
        looked = looks_at_deadlines(running)
        clock.mono += HOUR
        eventually(lambda: looked() >= 2)
        assert [each.status for each in client.workers()] == [WorkerStatus.ONLINE]
        assert client.get_run(run).status is S.RUNNING
        worker.close()


def test_a_worker_that_was_taken_for_gone_has_to_say_hello_again(tmp_path: Path) -> None:
    with Running(tmp_path, engine=IMPATIENT) as running, running.client() as client:
        worker = WireWorker(running.address)
        worker.hello()
        eventually(lambda: client.workers()[0].status is WorkerStatus.OFFLINE)
        worker.send(m.Heartbeat())
        assert worker.expect(m.Error).code == "not_introduced"
        assert client.workers()[0].status is WorkerStatus.OFFLINE

        def status_after_hello() -> WorkerStatus:
            worker.hello()
            return client.workers()[0].status

        eventually(status_after_hello, so=lambda status: status is WorkerStatus.ONLINE)
        worker.close()
