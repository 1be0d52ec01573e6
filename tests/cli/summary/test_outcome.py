"""What the end of a run says about failed jobs."""

from __future__ import annotations

from typing import cast

from cli.render.json_views import run_json
from cli.summary.json_views import outcome_json
from cli.summary.outcome import MOST_FAILURES, Outcome, outcome
from cli.summary.text import failure_lines, timing_lines
from protocol import messages as m
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, UsageError
from protocol.plan import JobPlan
from protocol.reports import FailedTest, JobReports
from protocol.statuses import ExecutionStatus as S
from protocol.statuses import FailureReason
from protocol.views import JobView, JUnitSummary, RunView
from tests.support.documents import check_document
from tests.support.views import job_view, run_view, stage_view

TESTS = [FailedTest(name=f"t{number}", message="a\x1b[2Jb") for number in range(12)]


class Coordinator:
    """A coordinator's answers; `away` is the number of requests that it does not answer."""

    def __init__(self, log: bytes = b"$ make\nerror: boom\n", away: int = 0, *, removed: bool = False) -> None:
        self.log = log
        self.away = away
        self.removed = removed
        self.asked: list[str] = []

    def get_job(self, run: int, job: str) -> m.JobDetail:
        if self.away:
            self.away -= 1
            raise CoordinatorUnreachable("gone")
        if self.removed:
            raise UsageError("there is no such run")
        self.asked.append(f"{run} {job}")
        plan = JobPlan(name=job, stage="test", script=[])
        return m.JobDetail(id=1, job=plan, attempts=[], story=[], reports=JobReports(failed_tests=TESTS))

    def get_log(self, run: int, job: str, attempt: int, offset: int, length: int) -> tuple[m.LogData, bytes]:
        return m.LogData(id=1, attempt_id="1.1", offset=0, size=len(self.log), complete=True), self.log


def failed(name: str, **fields: object) -> JobView:
    fields.setdefault("failure_reason", FailureReason.SCRIPT_FAILURE)
    return job_view(name, S.FAILED, attempt=1, exit_code=1, message="exit code 1", **fields)


def outcome_of(
    coordinator: Coordinator, run: RunView, children: dict[int, RunView] | None = None, *, back: bool = True
) -> Outcome:
    def reconnect() -> None:
        if not back:
            raise CoordinatorUnreachable("still gone")

    return outcome(lambda: cast("Client", coordinator), run, children or {}, reconnect)


def said(found: Outcome) -> str:
    return "\n".join(line.plain for lines in failure_lines(found) for line in lines)


def test_a_failed_job_is_told_with_its_lines_its_tests_and_the_commands_for_it() -> None:
    job = failed("it's", tests=JUnitSummary(total=20, failed=14, errors=1))
    found = outcome_of(Coordinator(), run_view(7, stage_view("test", job)))
    text = said(found)
    assert text.startswith("it's (test) failed: script_failure: exit code 1\n")
    for line in (
        "  | error: boom",
        "    t0: a\ufffd[2Jb",
        "    and 5 more: longshore show 7 'it'\"'\"'s'",
        "  whole log: longshore logs 7 'it'\"'\"'s'",
        "  run again: longshore retry 7 'it'\"'\"'s'",
        "  run again on edited files: longshore retry --with-workspace 7 'it'\"'\"'s'",
    ):
        assert line in text.split("\n")
    assert "t10" not in text


def test_json_says_the_same() -> None:
    run = run_view(7, stage_view("test", failed("unit")), status=S.FAILED)
    document = run_json(run) | outcome_json(outcome_of(Coordinator(), run))
    check_document("run", document)
    (failure,) = document["failures"]
    assert failure["last_lines"] == ["$ make", "error: boom"]
    assert failure["retry_command"] == "longshore retry 7 unit"
    assert failure["retry_with_workspace_command"] == "longshore retry --with-workspace 7 unit"
    assert len(failure["failed_tests"]) == 12


def test_the_commands_name_the_coordinator_that_the_user_has_named() -> None:
    run = run_view(7, stage_view("test", failed("unit"), failed("start", child_runs=[8])), status=S.FAILED)
    found = outcome(lambda: cast("Client", Coordinator()), run, {}, lambda: None, "tcp://host:7733")
    unit, start = outcome_json(found)["failures"]
    named = "longshore --coordinator tcp://host:7733"
    assert unit["log_command"] == f"{named} logs 7 unit"
    assert unit["retry_with_workspace_command"] == f"{named} retry --with-workspace 7 unit"
    assert (start["retry_command"], start["retry_with_workspace_command"]) == (f"{named} retry 7 start", "")


def test_allowed_failures_come_last_and_only_so_many_logs_are_fetched() -> None:
    jobs = [failed("soft", allow_failure=True), *(failed(f"j{number}") for number in range(MOST_FAILURES + 2))]
    coordinator = Coordinator()
    found = outcome_of(coordinator, run_view(1, stage_view("test", *jobs)))
    assert len(coordinator.asked) == MOST_FAILURES
    assert "1 soft" not in coordinator.asked
    assert said(found).endswith("and 3 more failed jobs")


def test_of_a_failed_child_run_its_jobs_are_told_and_not_its_trigger() -> None:
    run = run_view(1, stage_view("test", failed("trigger", child_runs=[2]), failed("other", child_runs=[3])))
    child = run_view(2, stage_view("test", failed("inner")))
    found = outcome_of(Coordinator(), run, {2: child})
    assert [(failure.run, failure.job.name) for failure in found.failures] == [(1, "other"), (2, "inner")]


def test_a_coordinator_that_comes_back_is_asked_again() -> None:
    found = outcome_of(Coordinator(away=2), run_view(1, stage_view("test", failed("unit"))))
    assert found.failures[0].excerpt.last_lines == ["$ make", "error: boom"]


def test_without_a_coordinator_the_reason_and_the_names_of_tests_are_told() -> None:
    job = failed("unit", tests=JUnitSummary(total=1, failed=1, failures=["t0"]))
    for coordinator in (Coordinator(away=99), Coordinator(removed=True)):
        text = said(outcome_of(coordinator, run_view(1, stage_view("test", job, failed("b"))), back=False))
        assert "unit (test) failed: script_failure: exit code 1" in text
        assert "    t0\n" in text
        assert "whole log" not in text


def test_a_long_run_says_where_its_time_went() -> None:
    jobs = [
        job_view("build", S.SUCCESS, started_at=2.0, finished_at=50.0),
        job_view("test", S.SUCCESS, "build", started_at=50.0, finished_at=70.0),
    ]
    view = run_view(1, stage_view("all", *jobs))
    for end, lines in (
        (59.0, []),
        (
            71.0,
            [
                "critical path: build 48.0 s (after waiting 2.0 s) > test 20.0 s",
                "slowest jobs: build 48.0 s, test 20.0 s",
            ],
        ),
    ):
        run = RunView(id=1, name="", status=S.SUCCESS, started_at=0.0, finished_at=end, stages=view.stages)
        assert [line.plain for line in timing_lines(run, outcome_of(Coordinator(), run))] == lines
