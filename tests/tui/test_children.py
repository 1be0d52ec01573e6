"""The way into a child run and back, against a real coordinator that compiles the child."""

from __future__ import annotations

import os
from pathlib import Path

from protocol.statuses import ExecutionStatus
from tests.support.command_line import longshore
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.project import Project
from tests.tui.driving import dashboard

PARENT = """
stages: [build, test]
compile: {stage: build, script: [make]}
child: {stage: test, trigger: {include: child.yml, strategy: depend}}
"""
CHILD = "inner: {script: [make inner]}\n"


def started(project: Project, server: Server) -> int:
    """Starts the parent as a user does."""
    project.write(".gitlab-ci.yml", PARENT)
    project.write("child.yml", CHILD)
    project.commit()
    made = longshore(project, "run", "--detach", "--coordinator", server.address, HOME=os.environ["HOME"])
    assert made.returncode == 0, made.stderr
    return int(made.stdout)


async def test_enter_opens_the_child_run_of_a_job_and_escape_comes_back(
    server: Server, worker: ScriptedWorker, tmp_path: Path
) -> None:
    parent = started(Project(tmp_path / "project"), server)
    child = parent + 1
    async with dashboard(server.address) as seen:
        await seen.open_run()
        worker.begin("compile")
        worker.end("compile")
        await seen.sees(f"→ {child} ○Q")
        seen.app.screen.query_one("StageColumns").select("child")  # type: ignore[attr-defined]
        await seen.sees(f"child run {child} pending")

        await seen.press("enter")
        await seen.sees(f"child of run {parent}, job child", "inner")
        worker.begin("inner")
        await seen.sees("●R running")

        await seen.press("escape")
        await seen.sees("compile", f"→ {child} ●R", f"child run {child} running")
        worker.end("inner")
        await seen.sees(f"→ {child} ✓S")
        await seen.press("v")
        await seen.sees("[✓S", f"→ {child} ✓S")
        await seen.press("enter")
        await seen.sees(f"child of run {parent}, job child")

        await seen.press("escape")
        await seen.sees("compile", f"→ {child} ✓S")
        await seen.press("o")
        await seen.sees("Definition", "child")
        await seen.press("escape", "escape")
        await seen.sees(f"↳ {parent} ")
    with server.client() as client:
        assert client.get_run(child).status is ExecutionStatus.SUCCESS
