"""A process is killed in the middle of a run, and comes back: nothing is lost, nothing runs twice."""

from __future__ import annotations

from pathlib import Path

import docker

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, jobs_of, repository, running, statuses

COUNTING = """
default: {image: longshore/busybox:test}
stages: [a, b]
count:
  stage: a
  script:
    - 'i=0; while [ $i -lt 35 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done'
    - echo left > left.txt
  artifacts: {paths: [left.txt]}
short: {stage: a, script: [echo short]}
after: {stage: b, script: [cat left.txt]}
needing: {stage: b, needs: [count], script: [cat left.txt]}
"""
LINES = [f"line {number}" for number in range(35)]


def started(system: System, tmp_path: Path) -> int:
    """A run whose long job has printed something."""
    run = system.submit(repository(tmp_path / "project", {".gitlab-ci.yml": COUNTING}))
    eventually(lambda: "line 3\n" in system.logged(run, "count"))
    return run


def ended_well(system: System, run: int) -> None:
    view = system.finished(run)
    assert set(statuses(view).values()) == {"success"}, view
    assert {job["attempt"] for job in jobs_of(view).values()} == {1}
    log = system.log(run, "count").splitlines()
    assert [line for line in log if line.startswith("line ")] == LINES
    assert "left\n" in system.log(run, "after")


def test_a_killed_coordinator_comes_back_and_the_run_goes_on(system: System, tmp_path: Path) -> None:
    coordinator = system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    system.start_worker("w2", "--slots", "2")
    system.wait_for_workers(2)
    run = started(system, tmp_path)
    follower = system.start("logs", str(run), "count", "-f")
    coordinator.kill()
    system.start_coordinator()
    ended_well(system, run)
    assert follower.popen.wait(DEADLINE) == 0
    assert follower.out.read_text() == system.log(run, "count")


def test_a_killed_worker_comes_back_and_takes_its_containers_up_again(system: System, tmp_path: Path) -> None:
    system.start_coordinator()
    worker = system.start_worker("w1", "--slots", "2")
    system.wait_for_workers(1)
    run = started(system, tmp_path)
    worker.kill()
    system.start_worker("w1", "--slots", "2")
    ended_well(system, run)


def test_what_ended_while_its_worker_was_dead_is_reported_when_it_is_back(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    system.start_coordinator()
    worker = system.start_worker("w1", "--slots", "2")
    system.wait_for_workers(1)
    run = started(system, tmp_path)
    worker.kill()
    eventually(lambda: not running(docker_client, system.coordinator_id, run, "count"))
    system.start_worker("w1", "--slots", "2")
    ended_well(system, run)


def test_all_of_it_killed_at_once_comes_back(system: System, tmp_path: Path) -> None:
    coordinator = system.start_coordinator()
    worker = system.start_worker("w1", "--slots", "2")
    system.wait_for_workers(1)
    run = started(system, tmp_path)
    worker.kill()
    coordinator.kill()
    system.start_coordinator()
    system.start_worker("w1", "--slots", "2")
    ended_well(system, run)


def test_a_resubmitted_run_starts_once_though_the_coordinator_was_away(system: System, tmp_path: Path) -> None:
    coordinator = system.start_coordinator()
    system.start_worker("w1")
    system.wait_for_workers(1)
    project = repository(
        tmp_path / "project", {".gitlab-ci.yml": "job: {image: longshore/busybox:test, script: [date]}"}
    )
    coordinator.kill()
    follower = system.start("run", cwd=project)
    system.start_coordinator()
    assert follower.popen.wait(DEADLINE) == 0, follower.said
    assert [run["status"] for run in system.command("list", "--json").json] == ["success"]
