"""The long-lived processes as an operator sees them: signals, `up`, drain, the JSON documents."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.documents import check_document
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, repository


def test_json_documents_are_as_their_schemas_say(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
good: {script: [echo x]}
bad: {script: [exit 3], allow_failure: true, inputs: {x: {default: [a], type: array, options: [a, b]}}}
next: {stage: deploy, needs: [{job: good, artifacts: false}], script: [echo x]}
"""
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file})
    done = fleet.run(project)
    run = done.json["id"]
    for name, document in (
        ("run", done.json),
        ("run", fleet.show(run)),
        ("run", fleet.command("run", "-d", "--json", cwd=project).json),
        ("list", fleet.command("list", "--json").json),
        ("job", fleet.command("show", str(run), "bad", "--json").json),
        ("workers", fleet.workers()),
        ("plan", fleet.command("plan", "--json", cwd=project).json),
    ):
        check_document(name, document)


def test_tables_are_for_people_and_have_no_colour_in_a_pipe(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": "job: {image: longshore/busybox:test, script: [ls]}"})
    done = fleet.command("run", cwd=project)
    assert done.status == 0, done.err
    for output in (
        done.out,
        fleet.command("list").out,
        fleet.command("workers").out,
        fleet.command("plan", cwd=project).out,
    ):
        assert "\x1b" not in output
    assert "success" in done.out
    assert "w3" in fleet.command("workers").out


def test_a_drained_worker_takes_no_new_jobs(fleet: System, tmp_path: Path) -> None:
    project = repository(
        tmp_path / "project", {".gitlab-ci.yml": "job: {image: longshore/busybox:test, tags: [third], script: [ls]}"}
    )
    assert fleet.command("drain", "w3").status == 0
    try:
        assert {each["name"]: each["status"] for each in fleet.workers()}["w3"] == "draining"
        run = fleet.submit(project)
        reason = "all workers that could take it are draining: w3"
        eventually(lambda: fleet.job(run, "job").pending_reason == reason)
    finally:
        assert fleet.command("drain", "w3", "--off").status == 0
    assert fleet.finished(run)["status"] == "success"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_coordinator_and_worker_end_cleanly_on_a_signal(system: System, number: signal.Signals) -> None:
    coordinator = system.start_coordinator()
    worker = system.start_worker("w1")
    system.wait_for_workers(1)
    for process in (worker, coordinator):
        process.popen.send_signal(number)
        assert process.popen.wait(DEADLINE) == 0, process.said
        assert "Traceback" not in process.said


def test_logs_are_json_objects_on_request(system: System) -> None:
    process = system.start("coordinator", "--bind", "tcp://127.0.0.1:0", "--log-json")
    eventually(lambda: process.said)
    record = json.loads(process.said.splitlines()[0])
    assert {"time", "level", "logger", "message"} <= set(record)
    assert process.terminate() == 0


def test_a_worker_logs_on_request_what_it_has_and_where_its_threads_are(system: System, tmp_path: Path) -> None:
    system.start_coordinator()
    worker = system.start_worker("w")
    file = "job: {image: longshore/busybox:test, script: [echo begun; sleep 60]}"
    run = system.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: "begun\n" in system.logged(run, "job"))
    worker.popen.send_signal(signal.SIGUSR1)
    eventually(lambda: "1.1 is running, running; log: " in worker.said)
    assert "greeted, attempts: 1\n" in worker.said
    assert "Thread 0x" in worker.said
    assert worker.popen.poll() is None
    system.command("cancel", str(run))
    system.finished(run)


def test_up_runs_a_coordinator_and_workers_until_ctrl_c(system: System, tmp_path: Path) -> None:
    up = system.start("up", "--workers", "2", "--slots", "1", "--bind", "tcp://127.0.0.1:0")
    eventually(lambda: "longshore run" in up.out.read_text())
    system.wait_for_workers(2)
    project = repository(tmp_path / "project", {".gitlab-ci.yml": "job: {image: longshore/busybox:test, script: [ls]}"})
    done = system.command("run", cwd=project)
    assert done.status == 0, done.err
    up.interrupt()
    assert up.popen.wait(DEADLINE) == 0, up.said
    assert "coordinator | " in up.said


def test_up_starts_a_crashed_worker_again(system: System) -> None:
    up = system.start("up", "--workers", "1", "--bind", "tcp://127.0.0.1:0")
    eventually(lambda: "longshore run" in up.out.read_text())
    system.wait_for_workers(1)
    children = Path(f"/proc/{up.popen.pid}/task/{up.popen.pid}/children").read_text().split()
    victim = next(int(pid) for pid in children if b"\0worker\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: "restarting it" in up.said)
    system.wait_for_workers(1)
    up.interrupt()
    assert up.popen.wait(DEADLINE) == 0


def test_two_coordinators_never_share_a_state_directory(system: System) -> None:
    system.start_coordinator()
    done = system.command("coordinator", "--bind", "tcp://127.0.0.1:0")
    assert done.status == 2
    assert "serves" in done.err


def test_a_named_coordinator_is_found_by_option_and_by_variable(fleet: System) -> None:
    assert fleet.address is not None
    elsewhere = System(fleet.folder)
    assert len(elsewhere.command("workers", "--json", "--coordinator", fleet.address).json) == 3
    assert len(elsewhere.command("--coordinator", fleet.address, "workers", "--json").json) == 3
