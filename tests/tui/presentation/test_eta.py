"""Guesses at the remaining time, and the critical path."""

from __future__ import annotations

from protocol.statuses import ExecutionStatus
from protocol.views import JobView
from tests.support.views import job_view, run_view, stage_view
from tui.presentation.eta import estimate, expected_durations, predecessors

S = ExecutionStatus
NOW = 1000.0


def ended(name: str, took: float, *needs: str, status: ExecutionStatus = S.SUCCESS) -> JobView:
    """A job that has ended just now."""
    return job_view(name, status, *needs, started_at=NOW - took, finished_at=NOW)


def running(name: str, since: float, *needs: str) -> JobView:
    """A job that is under way."""
    return job_view(name, S.RUNNING, *needs, started_at=NOW - since)


def test_what_a_job_took_is_the_median_of_the_times_when_it_succeeded() -> None:
    runs = [run_view(n, stage_view("build", ended("a", took))) for n, took in enumerate((10, 30, 500))]
    runs.append(run_view(9, stage_view("build", ended("a", 1, status=S.FAILED))))
    assert expected_durations(runs) == {"a": 30}


def test_the_rest_of_a_run_is_its_longest_chain() -> None:
    stages = [
        [running("compile", 10), ended("assets", 5)],
        [job_view("unit", S.CREATED, "compile"), job_view("browser", S.CREATED, "assets")],
        [job_view("deploy")],
    ]
    expected = {"compile": 30.0, "unit": 60.0, "browser": 70.0, "deploy": 5.0}
    found = estimate(stages, expected, NOW)
    assert found.remaining == 20 + 60 + 5
    assert found.critical == {"compile", "unit", "deploy"}


def test_a_job_that_takes_longer_than_ever_is_nearly_done() -> None:
    assert estimate([[running("a", 100)]], {"a": 30.0}, NOW).remaining == 0


def test_nothing_is_guessed_of_jobs_that_were_never_seen() -> None:
    assert estimate([[running("a", 100)]], {}, NOW).remaining is None


def test_a_manual_job_is_not_waited_for() -> None:
    stages = [[running("a", 10)], [job_view("production", S.MANUAL)]]
    assert estimate(stages, {"a": 15.0, "production": 600.0}, NOW).remaining == 5


def test_a_job_by_stage_waits_for_all_stages_before_it_and_one_without_needs_for_none() -> None:
    stages = [
        [job_view("a")],
        [job_view("b", S.CREATED, "a"), job_view("lint", by_stage=False)],
        [job_view("c")],
    ]
    before = predecessors(stages)
    assert before["lint"] == []
    (barrier,) = before["c"]
    assert set(before[barrier]) >= {"b", "lint"}
    assert any("a" in before.get(need, ()) for need in before[barrier])


def test_needs_that_go_in_a_circle_do_no_harm() -> None:
    stages = [[job_view("a", S.CREATED, "b"), job_view("b", S.CREATED, "a")]]
    assert estimate(stages, {"a": 1.0}, NOW).remaining == 1
