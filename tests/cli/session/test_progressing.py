"""Which runs go on without a user: what keeps a process in the background, and what does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cli.session.progressing import progressing
from protocol.statuses import ExecutionStatus as S


@dataclass
class Job:
    status: S
    child_runs: list[int] = field(default_factory=list)


@dataclass
class Stage:
    jobs: list[Job]


@dataclass
class Run:
    id: int
    status: S
    stages: list[Stage]


def run(number: int, status: S, *jobs: Job) -> Run:
    return Run(number, status, [Stage([job]) for job in jobs])


MANUAL = run(2, S.MANUAL, Job(S.MANUAL))


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param([Job(S.RUNNING, [2])], id="a job waits for the child"),
        pytest.param([Job(S.SUCCESS), Job(S.RUNNING, [1, 2]), Job(S.CREATED)], id="between others"),
        pytest.param([Job(S.RUNNING, [3]), Job(S.MANUAL)], id="for a child's child"),
    ],
)
def test_a_run_whose_children_all_wait_for_a_user_waits_too(jobs: list[Job]) -> None:
    child = run(3, S.RUNNING, Job(S.RUNNING, [2]))

    assert progressing([run(7, S.RUNNING, *jobs), child, MANUAL]) == []


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param([Job(S.RUNNING)], id="a job of its own runs"),
        pytest.param([Job(S.RUNNING, [2]), Job(S.RUNNING)], id="beside one that waits"),
        pytest.param([Job(S.RUNNING, [2]), Job(S.PENDING)], id="a job can begin"),
        pytest.param([Job(S.RUNNING, [2]), Job(S.SCHEDULED)], id="a job begins later"),
        pytest.param([Job(S.PENDING, [2])], id="a job starts another child"),
        pytest.param([Job(S.RUNNING, [4])], id="the child has ended"),
        pytest.param([Job(S.CREATED)], id="nothing has begun"),
        pytest.param([], id="no jobs"),
    ],
)
def test_a_run_with_anything_else_to_do_goes_on(jobs: list[Job]) -> None:
    going = run(7, S.RUNNING, *jobs)

    assert progressing([going, MANUAL]) == [going]
