"""A job's reports in the terminal and as JSON."""

from __future__ import annotations

import io
import json

import jsonschema
import pytest

from cli.follow.progress import Progress
from cli.render.output import JsonOutput, TextOutput
from cli.render.phrases import job_note
from cli.render.reports import links_table
from cli.render.safe_console import PlainConsole
from cli.summary.outcome import Outcome
from cli.summary.timing import Timing
from protocol.messages import JobDetail
from protocol.plan import JobPlan
from protocol.reports import CodeQuality, FileCoverage, JobReports, LineCoverage, Link, QualityIssue
from protocol.statuses import ExecutionStatus as S
from protocol.views import RunView
from tests.cli.render.test_safe_console import HOSTILE
from tests.conftest import ROOT
from tests.support.views import job_view, run_view, stage_view

REPORTS = JobReports(
    links=[
        Link(title="All of it", paths=["out/", "a site.html"]),
        Link(title="API", url="https://docs.example/größe?a=b", group="docs"),
        Link(title="odd", url="javascript:alert(1)"),
    ],
    lines=LineCoverage(
        covered=2, total=3, files=9, outside=4, worst=[FileCoverage(path="src/app.py", covered=2, total=3)]
    ),
    quality=CodeQuality(
        counts={"major": 1, "info": 8},
        issues=[QualityIssue(severity="major", description="too long", path="src/app.py", line=7, check="E501")],
    ),
)
DETAIL = JobDetail(id=0, job=JobPlan(name="test", stage="test", script=[]), attempts=[], story=[], reports=REPORTS)


def run_of(reports: JobReports, number: int = 7) -> RunView:
    return run_view(number, stage_view("test", job_view("unit", S.SUCCESS, reports=reports.summary())))


def test_a_run_shows_totals_and_links(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(REPORTS)
    assert job_note(run.stages[0].jobs[0]) == ("66.6 % of 3 lines covered; 9 code quality issues: 1 major, 8 info")
    TextOutput().run(run, {8: run_of(REPORTS, 8)})
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "unit All of it longshore artifacts 7 unit out/ 'a site.html' -o DIR" in shown
    assert "unit docs: API https://docs.example/größe?a=b" in shown
    assert "unit (run 8) odd javascript:alert(1)" in shown


def test_a_run_that_was_followed_ends_with_its_links() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Progress(7, {}, stream, live=False).sum_up(run_of(REPORTS), {}, Outcome([], 0, Timing([], [])))
    stream.seek(0)
    assert "unit  docs: API  https://docs.example/größe?a=b" in stream.read()


def test_a_run_without_links_has_no_list_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert links_table(run_of(JobReports())) is None
    TextOutput().run(run_of(JobReports()), {})
    assert "Link" not in capsys.readouterr().out


def test_a_job_shows_all_of_its_reports(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(REPORTS)
    TextOutput().job(run, run.stages[0].jobs[0], DETAIL)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "docs: API https://docs.example/größe?a=b" in shown
    assert "66.6 % 2/3 src/app.py" in shown
    assert "and 8 files with more coverage" in shown
    assert "and 4 files outside the project, left out" in shown
    assert "major src/app.py:7 too long (E501)" in shown
    assert "and 8 more issues" in shown


@pytest.mark.parametrize("reports", [REPORTS, None])
def test_json_has_totals_in_a_run_and_lists_in_a_job(
    capsys: pytest.CaptureFixture[str], reports: JobReports | None
) -> None:
    run = run_view(7, stage_view("test", job_view("test", S.SUCCESS, reports=reports and reports.summary())))
    JsonOutput().run(run, {})
    (job,) = json.loads(capsys.readouterr().out)["stages"][0]["jobs"]
    schema = json.loads((ROOT / "docs" / "schemas" / "run.json").read_text())
    jsonschema.validate(job, schema["properties"]["stages"]["items"]["properties"]["jobs"]["items"])
    JsonOutput().job(
        run,
        run.stages[0].jobs[0],
        JobDetail(id=0, job=DETAIL.job, attempts=[], story=[], reports=reports),
    )
    whole = json.loads(capsys.readouterr().out)
    jsonschema.validate(whole, json.loads((ROOT / "docs" / "schemas" / "job.json").read_text()))
    if reports is None:
        assert (job["links"], job["line_coverage"], whole["code_quality"]) == ([], None, None)
    else:
        assert job["line_coverage"] == {"covered": 2, "total": 3, "files": 9, "outside": 4, "worst": []}
        assert job["code_quality"] == {"counts": {"major": 1, "info": 8}, "issues": []}
        assert whole["line_coverage"]["worst"] == [{"path": "src/app.py", "covered": 2, "total": 3}]
        assert whole["code_quality"]["issues"][0]["check"] == "E501"


def on_terminal(*links: Link) -> str:
    out = io.StringIO()
    table = links_table(run_of(JobReports(links=list(links))))
    PlainConsole(file=out, force_terminal=True, color_system="standard", width=200).print(table)
    return out.getvalue()


def test_a_terminal_gets_hyperlinks_to_web_pages_only() -> None:
    shown = on_terminal(*REPORTS.links)
    assert ";https://docs.example/gr%C3%B6%C3%9Fe?a=b\x1b\\docs: API" in shown
    assert shown.count("\x1b]8;id=") == 2  # the title and the address
    assert "javascript:alert(1)" in shown


def test_what_a_job_writes_into_links_is_not_obeyed() -> None:
    shown = on_terminal(Link(title=HOSTILE, url=f"https://x/{HOSTILE}", group=HOSTILE, paths=[HOSTILE]))
    shown += on_terminal(Link(title="x", url="https://x/\x1b\\\x1b]0;title\x07"), Link(title="a\nb", url="https://x y"))
    assert not set("\x07\x9b\r\u202e\u200b") & set(shown)
    assert "\x1b]0" not in shown
    assert ";https://x/%1B\\%1B]0;title%07\x1b\\x" in shown
    assert ";https://x%20y\x1b\\a b" in shown


def test_a_share_is_rounded_down() -> None:
    shares = [(1, 3), (999_999, 1_000_000), (5, 5), (0, 0)]
    shown = [FileCoverage(path="a", covered=covered, total=total).percent for covered, total in shares]
    assert shown == ["33.3 %", "99.9 %", "100 %", "0 %"]
