"""Where the end of a run says that the time went."""

from __future__ import annotations

import msgspec

from cli.summary.timing import timing
from protocol.statuses import ExecutionStatus as S
from protocol.views import JobView, RunView
from tests.support.views import job_view, run_view, stage_view


def job(name: str, start: float, end: float, *needs: str, **fields: object) -> JobView:
    return job_view(name, S.SUCCESS, *needs, started_at=start, finished_at=end, **fields)


def started(run: RunView, at: float = 0.0) -> RunView:
    return msgspec.structs.replace(run, started_at=at)


def test_the_critical_path_follows_the_need_that_ended_last() -> None:
    run = started(
        run_view(
            1,
            stage_view("build", job("quick", 1, 2), job("slow", 1, 50), job("alone", 1, 60)),
            stage_view("test", job("unit", 51, 61, "quick", "slow")),
            stage_view("deploy", job("push", 65, 70)),
        )
    )
    path = timing(run, {}).critical_path
    assert [(step.job, step.seconds, step.waited) for step in path] == [
        ("slow", 49, 1),
        ("unit", 10, 1),
        ("push", 5, 4),
    ]


def test_jobs_that_did_not_run_are_passed_over() -> None:
    skipped = job_view("skipped", S.SKIPPED)
    run = started(run_view(1, stage_view("a", skipped, job("ran", 2, 3)), stage_view("b", job("last", 4, 5))))
    assert [step.job for step in timing(run, {}).critical_path] == ["ran", "last"]
    assert timing(run_view(2, stage_view("a", skipped)), {}).critical_path == []


def test_clocks_that_differ_make_no_negative_wait() -> None:
    run = started(run_view(1, stage_view("a", job("first", 0, 10)), stage_view("b", job("second", 9, 12))))
    assert timing(run, {}).critical_path[-1].waited == 0


def test_of_a_child_run_its_jobs_are_slow_and_not_its_trigger() -> None:
    run = started(run_view(1, stage_view("a", job("trigger", 0, 100, child_runs=[2]), job("own", 0, 30))))
    child = run_view(2, stage_view("a", job("inner", 0, 90)))
    assert [(slow.run, slow.job) for slow in timing(run, {2: child}).slowest] == [(2, "inner"), (1, "own")]
