"""`longshore run` with nothing configured: a coordinator and a worker come with it, and go with it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import docker

from tests.daemon.executors.docker.odd_engine import OddEngine
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import (
    UNTIL_TOLD,
    Process,
    System,
    jobs_of,
    leftovers,
    nobody_serves,
    repository,
    statuses,
    tell,
)

HELLO = "job: {image: longshore/busybox:test, script: [echo hello]}"
LONG = f"""
default: {{image: longshore/busybox:test}}
job: {{script: [echo up, "{UNTIL_TOLD}", echo done]}}
"""


def project_of(folder: Path, file: str) -> Path:
    return repository(folder, {".gitlab-ci.yml": file})


def wait_for(process: Process, text: str) -> None:
    eventually(lambda: text in process.out.read_text())


def test_a_run_needs_nothing_else_and_is_there_afterwards(system: System, tmp_path: Path) -> None:
    done = system.command("run", cwd=project_of(tmp_path / "project", HELLO))
    assert done.status == 0, done.err
    assert "job | hello\n" in done.out
    assert nobody_serves(system)
    assert [(run["id"], run["status"]) for run in system.command("list", "--json").json] == [(1, "success")]
    assert statuses(system.show(1)) == {"job": "success"}
    assert "hello\n" in system.log(1, "job")


def test_the_exit_status_tells_how_it_ended(system: System, tmp_path: Path) -> None:
    failing = project_of(tmp_path / "failing", "job: {image: longshore/busybox:test, script: [exit 4]}")
    done = system.run(failing)
    assert (done.status, done.json["status"], jobs_of(done.json)["job"]["exit_code"]) == (1, "failed", 4)


def test_ctrl_c_cancels_the_run(system: System, tmp_path: Path) -> None:
    run = system.start("run", cwd=project_of(tmp_path / "project", LONG))
    wait_for(run, "job | up\n")
    run.interrupt()
    assert run.popen.wait(DEADLINE) == 3
    assert statuses(system.show(1)) == {"job": "canceled"}


def test_what_an_engine_was_too_slow_to_remove_is_removed_in_the_background(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    engine = OddEngine(tmp_path / "odd.sock")
    refusing = engine.answer("DELETE /containers/", 500, {"message": "driver failed to remove root filesystem"})
    system.extra["DOCKER_HOST"] = engine.url
    try:
        done = system.command("run", cwd=project_of(tmp_path / "project", HELLO))
        refusing.times = 0  # before the background process can have imported what it asks the engine with
        assert done.status == 0, done.err
        assert refusing.asked
        eventually(lambda: not nobody_serves(system))
        coordinator = system.coordinator_id
        eventually(lambda: leftovers(docker_client, coordinator), so=lambda left: left == [])
        background = json.loads((system.folder / "state" / "coordinator.json").read_text())["pid"]
        os.kill(background, signal.SIGTERM)  # it would wait for runs
        eventually(lambda: nobody_serves(system))
    finally:
        engine.close()


def test_a_second_run_on_the_same_state_is_a_client_of_the_first(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    first = system.start("run", cwd=project_of(tmp_path / "first", LONG))
    wait_for(first, "job | up\n")
    done = system.command("run", cwd=project_of(tmp_path / "second", HELLO))
    assert done.status == 0, done.err
    assert first.popen.poll() is None
    assert [worker["name"] for worker in system.workers()] == ["local"]
    tell(docker_client, system.coordinator_id, 1)
    assert first.popen.wait(DEADLINE) == 0


def test_a_run_goes_on_when_the_one_that_served_it_ends_first(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    first = system.start("run", cwd=project_of(tmp_path / "first", LONG), name="first")
    wait_for(first, "job | up\n")
    second = system.start("run", cwd=project_of(tmp_path / "second", LONG), name="second")
    wait_for(second, "job | up\n")
    coordinator = system.coordinator_id
    tell(docker_client, coordinator, 1)
    assert first.popen.wait(DEADLINE) == 0
    tell(docker_client, coordinator, 2)
    assert second.popen.wait(DEADLINE) == 0
    assert [line for line in second.out.read_text().splitlines() if line.startswith("job | ")][-2:] == [
        "job | done",
        next(line for line in second.out.read_text().splitlines() if line.startswith("job | success")),
    ]
    assert jobs_of(system.show(2))["job"]["attempt"] == 1
    eventually(lambda: nobody_serves(system))


def test_a_detached_run_goes_on_in_the_background(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    run = system.submit(project_of(tmp_path / "project", LONG))
    eventually(lambda: system.status(run, "job") == "running")
    tell(docker_client, system.coordinator_id, run)
    view = system.finished(run)
    assert view["status"] == "success"
    assert "done\n" in system.log(run, "job")
    eventually(lambda: nobody_serves(system))


def test_a_run_whose_process_was_killed_is_finished_by_the_next_one(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    killed = system.start("run", cwd=project_of(tmp_path / "first", LONG))
    wait_for(killed, "job | up\n")
    coordinator = system.coordinator_id
    killed.kill()
    listed = system.command("list")
    assert "no process is running it" in listed.err
    assert statuses(system.show(1)) == {"job": "running"}
    done = system.command("run", cwd=project_of(tmp_path / "second", HELLO))
    assert done.status == 0, done.err
    tell(docker_client, coordinator, 1)
    view = system.finished(1)
    assert (view["status"], jobs_of(view)["job"]["attempt"]) == ("success", 1)
    log = system.log(1, "job").splitlines()
    assert (log.count("up"), log.count("done")) == (1, 1)
    eventually(lambda: nobody_serves(system))


def test_a_follower_takes_over_when_the_one_that_serves_is_killed(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    first = system.start("run", cwd=project_of(tmp_path / "first", LONG), name="first")
    wait_for(first, "job | up\n")
    second = system.start("run", cwd=project_of(tmp_path / "second", LONG), name="second")
    wait_for(second, "job | up\n")
    coordinator = system.coordinator_id
    first.kill()
    for run in (1, 2):
        tell(docker_client, coordinator, run)
    assert second.popen.wait(DEADLINE) == 0
    assert second.out.read_text().count("job | done\n") == 1
    assert system.finished(1)["status"] == "success"
    eventually(lambda: nobody_serves(system))


def test_a_run_ends_where_only_a_manual_job_is_left_and_goes_on_when_it_is_played(
    system: System, tmp_path: Path
) -> None:
    file = """
default: {image: longshore/busybox:test}
stages: [ask, after]
deploy it: {stage: ask, when: manual, allow_failure: false, script: [echo deployed]}
after: {stage: after, script: [echo after]}
"""
    done = system.command("run", cwd=project_of(tmp_path / "project", file))
    assert done.status == 0, done.err
    assert "longshore play 1 'deploy it'\n" in done.err
    assert nobody_serves(system)
    assert system.command("play", "1", "deploy it").status == 0
    assert statuses(system.finished(1)) == {"deploy it": "success", "after": "success"}
    eventually(lambda: nobody_serves(system))


def test_a_run_without_a_process_can_be_canceled(system: System, tmp_path: Path) -> None:
    killed = system.start("run", cwd=project_of(tmp_path / "project", LONG))
    wait_for(killed, "job | up\n")
    killed.kill()
    assert system.command("cancel", "1").status == 0
    assert system.finished(1)["status"] == "canceled"
    eventually(lambda: nobody_serves(system))


def test_a_run_outlives_its_terminal(system: System, tmp_path: Path, docker_client: docker.DockerClient) -> None:
    run = system.start("run", cwd=project_of(tmp_path / "project", LONG))
    wait_for(run, "job | up\n")
    coordinator = system.coordinator_id
    run.popen.send_signal(signal.SIGHUP)
    run.popen.wait(DEADLINE)
    tell(docker_client, coordinator, 1)
    assert system.finished(1)["status"] == "success"
    eventually(lambda: nobody_serves(system))


def test_a_folder_that_is_no_repository_runs_too(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / ".gitlab-ci.yml").write_text("job: {image: longshore/busybox:test, script: [cat text]}")
    (folder / "text").write_text("plain text\n")
    done = system.command("run", cwd=folder)
    assert done.status == 0, done.err
    assert "job | plain text\n" in done.out


def test_a_run_from_a_subdirectory_is_that_of_the_repository(system: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [cat src/deep/text]}"
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file, "src/deep/text": "from the top\n"})
    done = system.command("run", cwd=project / "src" / "deep")
    assert done.status == 0, done.err
    assert "job | from the top\n" in done.out
    assert "../../.gitlab-ci.yml: valid" in system.command("validate", cwd=project / "src" / "deep").out
    assert "project/.gitlab-ci.yml: valid" in system.command("validate", "project", cwd=tmp_path).out
