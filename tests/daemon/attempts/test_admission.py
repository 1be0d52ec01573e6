"""Which jobs are prepared and which run: no job is starved, no bound is passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.attempts.admission import free_slot, to_admit, to_open
from daemon.attempts.attempt import OVER, Attempt, Phase
from daemon.executors.base import Slot
from daemon.logs.sender import LogSender
from protocol.messages import Dependency
from protocol.statuses import ExecutionStatus
from tests.support.plans import PROJECT, assignment


def job(number: int, phase: Phase, runnable: bool = True, runnable_at: float | None = None) -> Attempt:
    waits = [Dependency(job="a", status=ExecutionStatus.RUNNING, satisfied=runnable)]
    made = Attempt(assignment("noop", attempt=f"{number}.1", waits_for=waits), LogSender(lambda: None), 0)
    made.phase = phase
    made.runnable_at = runnable_at
    return made


jobs = st.lists(st.tuples(st.sampled_from(Phase), st.booleans()), max_size=15).map(
    lambda rows: [job(number, phase, runnable) for number, (phase, runnable) in enumerate(rows)]
)


@given(jobs=jobs, slots=st.integers(1, 4), ahead=st.integers(1, 4))
def test_places_are_bounded_and_waiting_jobs_never_take_the_runnable_ones_places(
    jobs: list[Attempt], slots: int, ahead: int
) -> None:
    admitted = to_admit(jobs, slots, ahead, threads=100)
    assert all(one.phase is Phase.QUEUED for one in admitted)
    before = [one for one in jobs if one.phase is not Phase.QUEUED and one.phase not in OVER]
    if len(before) <= slots + ahead:
        assert len(before) + len(admitted) <= slots + ahead
    if sum(not one.runnable for one in before) <= ahead:
        assert sum(not one.runnable for one in before + admitted) <= ahead
    runnable_left = [one for one in jobs if one.phase is Phase.QUEUED and one.runnable and one not in admitted]
    if runnable_left and sum(not one.runnable for one in before) <= ahead:
        assert sum(one.runnable for one in before + admitted) >= slots


@given(jobs=jobs, slots=st.integers(1, 4), ahead=st.integers(1, 4), threads=st.integers(0, 6))
def test_threads_are_bounded_whatever_piles_up(jobs: list[Attempt], slots: int, ahead: int, threads: int) -> None:
    having = sum(one.phase is not Phase.QUEUED for one in jobs)
    assert len(to_admit(jobs, slots, ahead, threads)) <= max(0, threads - having)


@given(jobs=jobs, slots=st.integers(1, 4))
def test_no_more_gates_open_than_slots_are_free(jobs: list[Attempt], slots: int) -> None:
    running = sum(one.phase in (Phase.OPENED, Phase.RUNNING) for one in jobs)
    opened = to_open(jobs, slots)
    assert len(opened) <= max(0, slots - running)
    assert all(one.phase is Phase.READY and one.runnable for one in opened)
    ready = sum(one.phase is Phase.READY and one.runnable for one in jobs)
    assert len(opened) == min(ready, max(0, slots - running))


def test_the_job_that_was_runnable_first_runs_first() -> None:
    late, early = job(1, Phase.READY, runnable_at=2.0), job(2, Phase.READY, runnable_at=1.0)
    assert to_open([late, early], 1) == [early]


def test_runnable_jobs_are_prepared_before_waiting_ones() -> None:
    waiting, runnable = job(1, Phase.QUEUED, runnable=False), job(2, Phase.QUEUED)
    assert to_admit([waiting, runnable], slots=1, ahead=1, threads=1) == [runnable]


def test_a_slot_is_the_lowest_free_number_on_the_worker_and_of_its_project() -> None:
    first, second, ended = job(1, Phase.RUNNING), job(2, Phase.OPENED), job(3, Phase.ENDED)
    other = Attempt(assignment("x", attempt="4.1", project="other/project"), LogSender(lambda: None), 0)
    other.phase = Phase.RUNNING
    first.slot, second.slot, ended.slot, other.slot = Slot(0, 0), Slot(3, 2), Slot(1, 1), Slot(2, 0)
    jobs = [first, second, ended, other]
    assert free_slot(PROJECT, jobs, []) == Slot(1, 1)
    assert free_slot("other/project", jobs, [Slot(1, 1)]) == Slot(4, 2), "the project of a found one is unknown"
    assert free_slot("new/project", jobs, []) == Slot(1, 0)
