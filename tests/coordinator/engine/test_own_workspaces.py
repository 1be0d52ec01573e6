"""A job that is retried on files of its own: who gets them, for how long, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.engine.views import attempt_view, job_view
from protocol import messages as m
from protocol.errors import ProtocolError
from protocol.plan import RetrySpec
from protocol.statuses import ExecutionStatus as S
from protocol.workspace import TarWorkspace
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan, trigger

FIRST = TarWorkspace(digest="aa" * 32, size=1)
EDITED = TarWorkspace(digest="bb" * 32, size=2)
PROJECT = plan(job("any")).project


def retry(sim: Sim, run: int, name: str | None, workspace: TarWorkspace | None = None, project: str = PROJECT) -> None:
    message = m.Retry(id=1, run=run, job=name, workspace=workspace, project=project if workspace else "")
    sim.engine.retry(message, sim.now, finished={run: sim.runs[run]})
    sim.flush()


def given(sim: Sim) -> dict[str, Any]:
    """The files of each job that the worker has."""
    return {each.job.name: each.workspace for each in sim.workers["w"].has.values()}


def fail(sim: Sim, run: Any, name: str) -> None:
    sim.start(run, name)
    sim.fail(run, name)


def test_only_the_retried_job_gets_the_files_and_each_try_says_which_it_had() -> None:
    sim = Sim(SimWorker("w", slots=4))
    run = sim.submit(plan(job("make"), job("test", needs=["make"]), job("use", needs=["test"])), workspace=FIRST)
    sim.start(run, "make")
    sim.succeed(run, "make")
    fail(sim, run, "test")
    assert run.status is S.FAILED

    for _ in range(2):  # the second time because the answer was lost
        retry(sim, run.id, "test", EDITED)
        assert given(sim) == {"test": EDITED}
    with pytest.raises(ProtocolError, match="is pending"):
        retry(sim, run.id, "test", FIRST)
    sim.start(run, "test")
    sim.succeed(run, "test")
    assert given(sim) == {"use": FIRST}
    sim.finish(run)
    assert run.status is S.SUCCESS
    test = sim.job(run, "test")
    assert [attempt_view(test, each).workspace for each in test.attempts] == [None, EDITED.id]
    assert job_view(test).workspace == EDITED.id
    assert job_view(sim.job(run, "use")).workspace is None

    retry(sim, run.id, "make")  # what depends on it runs again, on the files of the run
    sim.start(run, "make")
    sim.succeed(run, "make")
    assert given(sim) == {"test": FIRST}
    assert [attempt_view(test, each).workspace for each in test.attempts] == [None, EDITED.id, None]


def test_the_files_stay_across_automatic_retries_and_a_restart_until_somebody_retries_the_job_without() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("test", retry=RetrySpec(max=1))), workspace=FIRST)
    fail(sim, run, "test")
    fail(sim, run, "test")
    sim.workers["w"].connected = False
    sim.engine.worker_goodbye("w", m.Goodbye(), sim.now)
    retry(sim, run.id, "test", EDITED)
    sim.restart()
    run = sim.runs[run.id]
    sim.hello("w")
    assert given(sim) == {"test": EDITED}
    fail(sim, run, "test")
    assert given(sim) == {"test": EDITED}, "retried by itself"
    fail(sim, run, "test")
    retry(sim, run.id, None)
    assert given(sim) == {"test": FIRST}
    test = sim.job(run, "test")
    assert [attempt_view(test, each).workspace for each in test.attempts] == [None, None, EDITED.id, EDITED.id, None]


def test_a_retry_that_is_taken_back_before_it_starts_leaves_no_files_behind() -> None:
    sim = Sim(SimWorker("w", labels=("other",), run_untagged=False))
    run = sim.submit(plan(job("test")), workspace=FIRST)
    for files in (EDITED, None):
        sim.engine.cancel(m.Cancel(id=1, run=run.id), sim.now)
        sim.flush()
        retry(sim, run.id, "test", files)
        assert sim.job(run, "test").own_workspace(1) == files


def test_files_of_another_project_and_for_no_job_are_refused_and_change_nothing() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("test"), trigger("start")), workspace=FIRST)
    fail(sim, run, "test")
    sim.refused(run, "start", "no such file")
    for name, project, problem in (
        ("test", "other/project", "the files are of 'other/project'"),
        (None, PROJECT, "a workspace is for one job"),
        ("start", PROJECT, "starts or mirrors another run"),
        ("nope", PROJECT, "has no job 'nope'"),
    ):
        with pytest.raises(ProtocolError, match=problem):
            retry(sim, run.id, name, EDITED, project)
        assert sim.job(run, "test").own_workspaces == {}
