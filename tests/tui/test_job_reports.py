"""A job's reports in the dashboard, against a real coordinator and a worker that does as it is told."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from protocol.reports import CodeQuality, FileCoverage, JobReports, LineCoverage, Link, QualityIssue
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.plans import job, plan
from tests.tui.driving import Dashboard, dashboard
from tests.tui.test_actions import leave_an_artifact
from tui.app import LongshoreApp
from tui.widgets.table import Table

API = "https://docs.example/größe"
REPORTS = JobReports(
    links=[
        Link(title="All\x1b]0;x\x07", paths=["out/"]),
        Link(title="API", url=API, group="docs"),
        Link(title="odd", url="javascript:alert(1)"),
    ],
    lines=LineCoverage(
        covered=1, total=3, files=5, outside=2, worst=[FileCoverage(path="src/app.py", covered=1, total=3)]
    ),
    quality=CodeQuality(
        counts={"major": 1, "info": 6},
        issues=[QualityIssue(severity="major", description="too long", path="src/app.py", line=7, check="E501")],
    ),
)


async def open_tab(seen: Dashboard, name: str) -> Table[object]:
    """Goes to the tab of a report."""
    await seen.until(lambda: seen.app.screen.query(f"#{name}"))
    seen.app.screen.query_one("Tabs").active = name  # type: ignore[attr-defined]
    table: Table[object] = seen.app.screen.query_one(f"#pane-{name}", Table)
    await seen.until(lambda: table.has_focus)
    return table


async def test_a_job_s_reports_are_in_tabs_of_their_own(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.run("compile", reports=REPORTS)
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.sees("33.3 % of lines covered", "7 issues: 1 major, 6 info", "3 links")
        await seen.open_job("compile")
        await open_tab(seen, "coverage")
        await seen.sees("Coverage 33.3 %", "src/app.py", "1/3", "and 4 files with more", "and 2 files outside")
        await open_tab(seen, "quality")
        await seen.sees("Issues 7", "src/app.py:7", "too long", "E501", "and 6 more issues")
        table = await open_tab(seen, "links")
        await seen.sees("Links 3", "docs", API, "javascript:alert(1)", "All�]0;x�")
        drawn = [segment for row in (1, 2, 3) for segment in table.render_line(row)]
        links = {segment.text.strip(): segment.style.link for segment in drawn if segment.style and segment.style.link}
        assert links == {"API": "https://docs.example/gr%C3%B6%C3%9Fe"}


async def test_enter_copies_a_link_or_opens_it_in_a_browser_s_dashboard(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.run("compile", reports=REPORTS)
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await open_tab(seen, "links")
        await seen.press("down", "enter")
        await seen.sees(f"copied {API}")
        assert seen.app.clipboard == API
        opened: list[str] = []
        with patch.object(LongshoreApp, "is_web", True), patch.object(seen.app, "open_url", opened.append):
            await seen.press("enter", "down", "enter")
            await seen.until(lambda: seen.app.clipboard == "javascript:alert(1)")
        assert opened == ["https://docs.example/gr%C3%B6%C3%9Fe"]


async def test_the_link_to_artifacts_downloads_them(server: Server, worker: ScriptedWorker, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    leave_an_artifact(server, worker, tmp_path / "blob", reports=REPORTS)
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await open_tab(seen, "links")
        await seen.press("enter")
        await seen.sees("Save the artifact as")


async def test_a_job_without_reports_has_no_tabs_for_them(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build")))
    worker.run("compile")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("Attempts 1")
        assert not seen.app.screen.query("#links, #coverage, #quality")
