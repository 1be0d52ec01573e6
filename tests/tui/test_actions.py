"""Every action of the dashboard, by its key, against a real coordinator and a worker that does as it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.compression import compressed
from protocol.plan import JobInput, Plan
from protocol.statuses import ExecutionStatus, WorkerStatus
from protocol.views import ArtifactRef
from tests.support.coordinator_thread import ScriptedWorker, Server
from tests.support.eventually import eventually
from tests.support.plans import job, plan, shop
from tests.tui.driving import Dashboard, dashboard

S = ExecutionStatus


def status_of(server: Server, run: int, name: str) -> ExecutionStatus:
    """How the coordinator sees a job."""
    with server.client() as client:
        stages = client.get_run(run).stages
    return next(view.status for stage in stages for view in stage.jobs if view.name == name)


def one_job(name: str = "compile", **fields: Any) -> Plan:
    """A pipeline of one job."""
    return plan(job(name, "build", **fields))


async def test_a_run_appears_and_goes_through_its_states_while_one_watches(
    server: Server, worker: ScriptedWorker
) -> None:
    async with dashboard(server.address) as seen:
        await seen.sees("No runs yet")
        server.submit(one_job(), ref="main", sha="c0ffee1234", title="First")
        await seen.sees("main", "c0ffee12", "0/1")
        worker.begin("compile")
        await seen.sees("●R running")
        worker.end("compile")
        await seen.sees("✓S success", "1/1")


async def test_a_job_is_opened_and_its_log_grows_before_ones_eyes(server: Server, worker: ScriptedWorker) -> None:
    server.submit(one_job())
    worker.begin("compile")
    worker.log("compile", b"$ make\n")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("$ make", "following")
        worker.log("compile", b"\x1b[32mdone\x1b[0m\n")
        await seen.sees("done", "2 lines")
        worker.end("compile")
        await seen.sees("complete")


async def test_cancel_asks_first_and_does_nothing_on_no(server: Server, worker: ScriptedWorker) -> None:
    run = server.submit(one_job())
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("running")
        await seen.press("c")
        await seen.sees(f"Cancel run {run}")
        await seen.press("n")
        await seen.sees_no("Cancel run 1 (")
        await seen.press("c")
        await seen.sees(f"Cancel run {run}")
        await seen.press("enter")  # the careful answer has the focus
        await seen.sees_no("Cancel run 1 (")
        assert worker.canceled == set()
        await seen.press("c")
        await seen.sees(f"Cancel run {run}")
        await seen.press("y")
        await seen.sees("⊘X canceled")
    assert status_of(server, run, "compile") is S.CANCELED


async def test_a_single_job_is_canceled(server: Server, worker: ScriptedWorker) -> None:
    run = server.submit(plan(job("compile", "build"), job("assets", "build")))
    worker.begin("compile")
    worker.begin("assets")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.press("j", "c")
        await seen.sees("Cancel job assets")
        await seen.press("y")
        await seen.sees("⊘X")
    assert status_of(server, run, "compile") is S.RUNNING


async def test_the_failing_job_is_found_its_error_read_and_it_is_tried_again_until_it_passes(
    server: Server, worker: ScriptedWorker
) -> None:
    run = server.submit(plan(job("compile", "build"), job("assets", "build"), job("deploy", "deploy")))
    worker.run("assets")
    noise = b"".join(b"compiling file %d\n" % n for n in range(2000))
    worker.run("compile", noise + b"main.c:3: error: no semicolon\n" + noise, exit_code=2)
    async with dashboard(server.address) as seen:
        await seen.sees("✗F failed")
        await seen.press("enter")
        await seen.sees("assets", "deploy")
        await seen.press("down", "e")
        await seen.sees("❯✗F", "script_failure, exit code 2")
        await seen.press("enter")
        await seen.sees("Definition", "compiling file 1999", "complete")
        await seen.press("e")
        await seen.sees("main.c:3: error: no semicolon")
        worker.assigned.clear()
        await seen.press("r")
        await seen.sees("attempt 2 of 2")
        worker.begin("compile")
        worker.log("compile", b"this time\n")
        await seen.sees("this time", "following")
        worker.end("compile")
        await seen.sees("✓S success")
    assert status_of(server, run, "compile") is S.SUCCESS


async def test_the_log_of_an_earlier_attempt_is_still_there(server: Server, worker: ScriptedWorker) -> None:
    run = server.submit(one_job())
    worker.run("compile", b"the first time\n", exit_code=1)
    worker.assigned.clear()
    with server.client() as client:
        eventually(lambda: client.get_run(run).status is S.FAILED)
        client.retry(run)
    worker.run("compile", b"the second time\n")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("the second time")
        await seen.press("tab")
        await seen.sees("Reason", "script_failure")
        await seen.press("end", "enter")
        await seen.sees("the first time", "attempt 1 of 2")


async def test_all_failed_jobs_are_tried_again(server: Server, worker: ScriptedWorker) -> None:
    run = server.submit(plan(job("a", "build"), job("b", "build"), job("c", "build")))
    for name, code in (("a", 0), ("b", 1), ("c", 1)):
        worker.run(name, exit_code=code)
    worker.assigned.clear()
    async with dashboard(server.address) as seen:
        await seen.sees("✗F failed")
        await seen.press("R")
        await seen.sees("2 jobs will be retried")
        worker.run("b")
        worker.run("c")
        await seen.sees("✓S success")
    assert "a" not in worker.assigned
    assert status_of(server, run, "b") is S.SUCCESS


async def test_a_manual_job_is_played_after_its_own_question(server: Server, worker: ScriptedWorker) -> None:
    server.submit(
        plan(
            job("compile", "build"),
            job("production", "deploy", when="manual", manual_confirmation="Deploy to production?"),
        )
    )
    worker.run("compile")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.sees("►M")
        await seen.press("right")
        await seen.sees("p Play")
        await seen.press("p")
        await seen.sees("Deploy to production?")
        await seen.press("y")
        worker.run("production")
        await seen.sees("✓S success   production")


async def test_a_job_with_inputs_asks_for_them_when_it_is_played_or_retried(
    server: Server, worker: ScriptedWorker
) -> None:
    inputs = {
        "to": JobInput(default="staging", options=["staging", "production"], description="Where to"),
        "copies": JobInput(type="number", default=1),
    }
    script = "deploy ${{ job.inputs.copies }} to ${{ job.inputs.to }}"
    run = server.submit(plan(job("deploy", "build", when="manual", script=script, inputs=inputs)))
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.press("p")
        await seen.sees(f"Play deploy of run {run} with", "to (string, one of staging, production): Where to")
        await seen.fill("nowhere")
        await seen.press("enter")
        await seen.sees("'nowhere' is not among the input's options")
        await seen.press("p")
        await seen.sees(f"Play deploy of run {run} with")
        await seen.press("escape")
        await seen.sees_no(f"Play deploy of run {run} with")
        assert status_of(server, run, "deploy") is S.MANUAL
        await seen.press("p")
        await seen.sees(f"Play deploy of run {run} with")
        await seen.press("tab")
        await seen.fill("2")
        await seen.press("enter")
        await seen.until(lambda: "deploy" in worker.assigned)
        assert worker.assigned.pop("deploy").job.script == ["deploy 2 to staging"]
        await seen.open_job("deploy")
        with server.client() as client:
            client.cancel(run)
        await seen.sees("canceled")
        await seen.press("r")
        await seen.sees(f"Retry deploy of run {run} with")
        await seen.fill("production")
        await seen.press("enter")
        await seen.until(lambda: "deploy" in worker.assigned)
        assert worker.assigned["deploy"].job.script == ["deploy 2 to production"]


async def test_a_worker_is_drained_and_taken_back(server: Server, worker: ScriptedWorker) -> None:
    async with dashboard(server.address) as seen:
        await seen.press("2")
        await seen.sees("w1", "online", "0/4")
        await seen.press("d")
        await seen.sees("Drain worker w1?")
        await seen.press("y")
        await seen.sees("◐D draining")
        eventually(lambda: worker.drained is True)
        await seen.press("d")
        await seen.sees("●O online")
        eventually(lambda: worker.drained is False)
    with server.client() as client:
        assert client.workers()[0].status is WorkerStatus.ONLINE


async def test_a_worker_shows_what_it_runs_and_leads_there(server: Server, worker: ScriptedWorker) -> None:
    server.submit(plan(job("compile", "build", tags=["elsewhere"]), job("assets", "build")))
    worker.begin("assets")
    async with dashboard(server.address) as seen:
        await seen.press("2")
        await seen.sees("1/assets")
        await seen.press("enter")
        await seen.sees("❯●R", "running   assets")


async def test_ids_are_copied(server: Server, worker: ScriptedWorker) -> None:
    run = server.submit(one_job())
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("running")
        await seen.press("y")
        assert seen.app.clipboard == str(run)
        await seen.open_run()
        await seen.open_job("compile")
        await seen.press("y")
        assert seen.app.clipboard == worker.assigned["compile"].attempt


async def test_a_log_is_saved_whole(server: Server, worker: ScriptedWorker, tmp_path: Path) -> None:
    server.submit(one_job())
    log = b"".join(b"\x1b[32mline %d\x1b[0m\n" % n for n in range(200_000))
    worker.begin("compile")
    worker.log("compile", log)
    worker.end("compile")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.sees("line 199999")
        await seen.press("s")
        await seen.sees("Save the log as")
        await seen.fill(str(tmp_path / "saved.log"))
        await seen.press("enter")
        await seen.sees("saved.log: 3.9 MiB")
    assert (tmp_path / "saved.log").read_bytes() == log


async def test_a_file_that_cant_be_written_is_said(server: Server, worker: ScriptedWorker) -> None:
    server.submit(one_job())
    worker.run("compile", b"log\n")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.press("s")
        await seen.sees("Save the log as")
        await seen.fill("/nowhere/at/all.log")
        await seen.press("enter")
        await seen.sees("can't write /nowhere/at/all.log", "No such file")


async def test_where_the_terminal_cannot_be_handed_over_the_pager_says_why_not(
    server: Server, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.submit(one_job())
    worker.run("compile", b"log\n")
    async with dashboard(server.address) as seen:
        await seen.open_run()
        await seen.open_job("compile")
        await seen.press("o")  # the test's terminal can't be handed over
        await seen.sees("a pager needs a terminal")


def leave_an_artifact(server: Server, worker: ScriptedWorker, archive: Path, **end: Any) -> int:
    """A job that has ended and left this archive; its size."""
    with server.client() as client:
        digest, size = client.upload(archive)
    server.submit(one_job())
    worker.begin("compile")
    worker.end("compile", artifacts=(ArtifactRef(kind="archive", digest=digest, size=size, name="out"),), **end)
    return size


async def save_the_artifact(seen: Dashboard, size: int, target: Path) -> None:
    """Asks for the only artifact of the job, of this size, to be saved."""
    await seen.open_run()
    await seen.open_job("compile")
    await seen.sees("Artifacts 1")
    await seen.press("tab", "tab", "tab")
    await seen.sees("archive", f"{size} B")
    await seen.press("enter")
    await seen.sees("Save the artifact as")
    await seen.fill(str(target))
    await seen.press("enter")


async def test_an_artifact_is_downloaded_and_decompressed(
    server: Server, worker: ScriptedWorker, tmp_path: Path
) -> None:
    content = b"not really a tar, but bytes"
    with (tmp_path / "blob").open("wb") as file, compressed(file) as packed:
        packed.write(content)
    size = leave_an_artifact(server, worker, tmp_path / "blob")
    async with dashboard(server.address) as seen:
        await save_the_artifact(seen, size, tmp_path / "out.tar")
        await seen.sees("out.tar: 27 B")
    assert (tmp_path / "out.tar").read_bytes() == content


async def test_an_artifact_whose_compression_is_damaged_is_not_saved_as_a_whole_one(
    server: Server, worker: ScriptedWorker, tmp_path: Path
) -> None:
    with (tmp_path / "blob").open("wb") as file, compressed(file) as packed:
        packed.write(b"content" * 1000)
    (tmp_path / "blob").write_bytes((tmp_path / "blob").read_bytes()[:-4] + b"none")
    size = leave_an_artifact(server, worker, tmp_path / "blob")
    async with dashboard(server.address) as seen:
        await save_the_artifact(seen, size, tmp_path / "out.tar")
        await seen.sees("damaged")


async def test_what_the_coordinator_refuses_is_said(server: Server, worker: ScriptedWorker) -> None:
    server.submit(one_job())
    worker.run("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("✓S success")
        await seen.press("c")
        await seen.sees("run 1 has already ended")


async def test_the_palette_offers_the_screens_actions(server: Server, worker: ScriptedWorker) -> None:
    server.submit(one_job())
    worker.begin("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("running")
        await seen.press("ctrl+p")
        await seen.fill("cancel")
        await seen.sees("key c")
        await seen.press("enter")
        await seen.sees("Cancel run 1")


async def test_the_mouse_does_what_keys_do(server: Server, new_worker: Callable[..., ScriptedWorker]) -> None:
    worker = new_worker(labels=("chrome",))
    run = server.submit(shop())
    worker.run("compile")
    async with dashboard(server.address) as seen:
        await seen.sees("running")
        await seen.pilot.click("#runs", offset=(10, 1))
        await seen.sees("dependencies", "package")
        await seen.pilot.click("#columns", offset=(5, 5))
        await seen.sees("pending   assets")
        lines = seen.text.split("\n")
        row = next(number for number, line in enumerate(lines) if "C Cancel run" in line)
        await seen.pilot.click(offset=(lines[row].index("C Cancel run"), row))
        await seen.sees(f"Cancel run {run}")
        await seen.pilot.click("#no")
        await seen.sees_no("Jobs under way")
        await seen.pilot.click(offset=(seen.text.split("\n")[0].index("Workers"), 0))
        await seen.sees("Slots")


async def test_a_pipeline_file_is_run_from_the_dashboard(
    server: Server, worker: ScriptedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "client"))
    Path(".gitlab-ci.yml").write_text("compile:\n  image: any\n  stage: build\n  script: [make $TARGET]\n")
    async with dashboard(server.address) as seen:
        await seen.sees("No runs yet")
        await seen.press("n")
        await seen.sees("Run a pipeline file")
        await seen.press("tab")
        await seen.fill("TARGET=all")
        await seen.press("enter")
        await seen.sees("run 1 submitted")
        await seen.sees("compile")
    assert [v.value for v in worker.wait_for("compile").run_variables if v.key == "TARGET"] == ["all"]


async def test_a_broken_pipeline_file_is_said_with_its_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".gitlab-ci.yml").write_text("compile:\n  script: [make]\n  needs: [nobody]\n")
    async with dashboard(server.address) as seen:
        await seen.sees("No runs yet")
        await seen.press("n", "enter")
        await seen.sees("nobody")


async def test_who_has_no_key_is_told_what_to_do_and_is_let_in_as_soon_as_there_is_one(
    server: Server, worker: ScriptedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.submit(one_job())
    worker.begin("compile")
    with monkeypatch.context() as patched:
        patched.setenv("HOME", str(tmp_path / "nobody"))
        patched.setenv("LONGSHORE_STATE", str(tmp_path / "nothing"))
        async with dashboard(server.address) as seen:
            await seen.sees("rejected by", "longshore login TOKEN")
            patched.undo()
            await seen.sees("●R running")
            await seen.sees_no("longshore login")
