"""What is said of runs and jobs in few cells: what matters least goes first, and nothing breaks a line."""

from __future__ import annotations

import pytest

from protocol.statuses import ExecutionStatus
from tests.support.views import job_view, run_summary
from tui.presentation.eta import Estimate
from tui.presentation.progress_bar import bar
from tui.presentation.spans import fit_name
from tui.presentation.summaries import NOTHING_WRITTEN, flow, job_facts, job_head, no_log, run_facts
from tui.widgets.stage_columns import _label

S = ExecutionStatus
WORDS = [("one", ""), ("two", "bold"), ("a long piece", "")]


def test_pieces_flow_over_lines_and_are_never_broken_between_lines() -> None:
    assert flow(WORDS, 40).plain == "one   two   a long piece"
    assert flow(WORDS, 18, 2).plain == "one   two\na long piece"
    assert flow(WORDS, 22).plain == "one   two   a long pi…"
    assert flow(WORDS, 18).plain == "one   two"
    assert flow([("a piece that is too long", ""), ("two", "")], 12, cut=False).plain == "two"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_a_run_takes_two_lines_however_narrow_it_is(width: int) -> None:
    fields = {"project": "group/project", "ref": "main", "sha": "c0ffee12", "counts": {"success": 1, "failed": 1}}
    run = run_summary(7, S.FAILED, created_at=0.0, started_at=9.0, finished_at=99.0, **fields)
    lines = run_facts(run, Estimate(frozenset({"a"}), None), 200.0, width).plain.split("\n")
    assert len(lines) == 2
    assert all(len(line) <= width - 2 for line in lines)
    assert lines[0].startswith("✗F failed   run 7   run 7")
    assert ("group/project" in lines[0]) is (width >= 60)


def test_a_job_at_a_worker_that_is_gone_says_so_until_it_has_ended() -> None:
    held = job_view("unit", S.WAITING, worker="pier-1", attempt=1)
    done = job_view("unit", S.SUCCESS, worker="pier-1", attempt=1)
    assert "on pier-1, which is offline" in job_facts(held, {}, 0.0, 80, offline=True).plain
    assert "on pier-1, which is offline" in job_head(1, held, "test", 1, 0.0, 80, offline=True).plain
    assert "offline" not in job_facts(held, {}, 0.0, 80, offline=False).plain
    assert "offline" not in job_facts(done, {}, 0.0, 80, offline=True).plain


def test_an_empty_log_says_why_it_is_empty() -> None:
    assert no_log(job_view("a", S.MANUAL)) == "Not begun: p plays it."
    assert no_log(job_view("a", S.RUNNING, attempt=1)) == "Nothing written yet."
    assert no_log(job_view("a", S.SUCCESS, attempt=1)) == NOTHING_WRITTEN
    assert no_log(job_view("a", S.SKIPPED)) == "Never attempted."
    assert all(no_log(job_view("a", status)) for status in S)


def test_a_long_name_loses_its_middle() -> None:
    assert fit_name("integration", 20) == "integration" + " " * 9
    assert fit_name("test: [amd64, debug]", 12) == "test: …ebug]"
    assert fit_name("日本語のテストの名前", 11) == "日本語…名前"


def test_the_jobs_of_a_matrix_say_its_name_once_where_there_is_little_room() -> None:
    names = [f"matrix: [amd64, {flavour}]" for flavour in ("debug", "release")]
    assert [_label(name, before, 17) for name, before in zip(names, ["", names[0]], strict=True)] == [
        "matrix: [amd64, …",
        "…[amd64, release]",
    ]
    assert _label(names[1], names[0], 30).rstrip() == names[1]


def test_one_failure_among_many_jobs_can_be_seen() -> None:
    shapes = "".join(text for text, _ in bar({"success": 500, "failed": 1, "skipped": 1}, 8))
    assert shapes == "██████▓░"
