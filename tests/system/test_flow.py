"""The whole flow in real Docker, with one worker and with three: stages, needs, artifacts, conditions, logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import Images
from tests.support.eventually import eventually
from tests.support.system import UNTIL_TOLD, System, jobs_of, leftovers, repository, running, statuses, tell

PIPELINE = """
default:
  image: longshore/busybox:test

stages: [build, test, deploy]

variables:
  COLOR: blue

first:
  stage: .pre
  script:
    - echo "first of $CI_PROJECT_NAME"

build-a:
  stage: build
  script:
    - mkdir -p out/empty
    - echo "a is $COLOR" > "out/ä file"
    - ln -s "ä file" out/link
    - printf '#!/bin/sh\\necho ran\\n' > out/tool
    - chmod 755 out/tool
    - sleep 1
  artifacts:
    paths: [out/]

build-b:
  stage: build
  script:
    - echo b > b.txt
  artifacts:
    paths: [b.txt]

join:
  stage: build
  needs: [build-a, build-b]
  script:
    - cat "out/ä file" b.txt > joined.txt
    - cat joined.txt
  artifacts:
    paths: [joined.txt]

check:
  stage: test
  script:
    - cat joined.txt
    - test -d out/empty
    - test "$(readlink out/link)" = "ä file"
    - ./out/tool
    - test "$(stat -c %a run.sh)" = 777
    - ./run.sh

early:
  stage: test
  needs: [build-b]
  script:
    - test ! -e joined.txt
    - cat b.txt

lint:
  stage: test
  needs: []
  allow_failure: true
  script:
    - echo before
    - exit 3
    - echo never
  after_script:
    - echo "after, $CI_JOB_STATUS"

deploy:
  stage: deploy
  script: [cat joined.txt]

on-failure:
  stage: deploy
  when: on_failure
  script: [echo failed]

clean:
  stage: .post
  when: always
  script: [echo clean]
"""


@pytest.fixture(params=[1, 3], ids=["one worker", "three workers"])
def some_workers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, docker_client: docker.DockerClient
) -> Iterator[System]:
    if request.param == 3:
        yield request.getfixturevalue("fleet")
        return
    system = System(tmp_path_factory.mktemp("single"))
    system.start_coordinator()
    system.start_worker("only", "--slots", "2")
    system.wait_for_workers(1)
    try:
        yield system
        coordinator = system.coordinator_id
        eventually(lambda: not leftovers(docker_client, coordinator))
    finally:
        system.stop()


def test_a_pipeline_runs_as_its_file_says(some_workers: System, tmp_path: Path, images: Images) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": PIPELINE, "run.sh": "#!/bin/sh\necho ran too\n"})
    done = some_workers.run(project)
    assert done.status == 0, done.err
    run = done.json
    jobs = jobs_of(run)
    assert run["status"] == "success"
    assert [stage["name"] for stage in run["stages"]] == [".pre", "build", "test", "deploy", ".post"]
    assert statuses(run) == {
        "first": "success",
        "build-a": "success",
        "build-b": "success",
        "join": "success",
        "check": "success",
        "early": "success",
        "lint": "failed",
        "deploy": "success",
        "on-failure": "skipped",
        "clean": "success",
    }
    assert (jobs["lint"]["exit_code"], jobs["lint"]["failure_reason"]) == (3, "script_failure")
    assert jobs["join"]["needs"] == ["build-a", "build-b"]
    logs = {name: some_workers.log(run["id"], name) for name in jobs if name != "on-failure"}
    assert "first of project\n" in logs["first"]
    assert "a is blue\nb\n" in logs["join"]
    assert all(text in logs["check"] for text in ("a is blue\nb\n", "\nran\n", "ran too\n"))
    assert "$ echo before\nbefore\n" in logs["lint"]
    assert "never\n" not in logs["lint"].replace("echo never", "")
    assert "after, failed\n" in logs["lint"]

    def order(before: str, after: str) -> bool:
        return bool(jobs[before]["finished_at"] <= jobs[after]["started_at"])

    assert order("first", "build-a")
    assert order("build-a", "join")
    assert order("build-b", "join")
    assert order("join", "check")
    assert order("check", "deploy")
    assert order("deploy", "clean")


def test_a_job_that_needs_nothing_does_not_wait_for_the_stage_before(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    file = f"""
default: {{image: longshore/busybox:test}}
stages: [build, test]
job: {{stage: build, script: ["{UNTIL_TOLD}"]}}
early: {{stage: test, needs: [], script: [echo early]}}
late: {{stage: test, script: [echo late]}}
"""
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: (fleet.status(run, "early"), fleet.status(run, "job")) == ("success", "running"))
    assert fleet.status(run, "late") not in ("running", "success")
    tell(docker_client, fleet.coordinator_id, run)
    assert set(statuses(fleet.finished(run)).values()) == {"success"}


def test_artifacts_reach_jobs_on_other_workers(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
stages: [make, use]
make:
  stage: make
  tags: [third]
  script:
    - head -c 3000000 /dev/urandom > data
    - sha256sum data > sum
  artifacts: {paths: [data, sum]}
"""
    users = "\n".join(f"use-{number}:\n  stage: use\n  script: [sha256sum -c sum, sleep 1]" for number in range(1, 7))
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file + users}))
    assert done.status == 0, done.err
    jobs = jobs_of(done.json)
    assert jobs["make"]["worker"] == "w3"
    assert {jobs[f"use-{number}"]["worker"] for number in range(1, 7)} == {"w1", "w2", "w3"}


def test_uncommitted_changes_run_and_ignored_files_do_not(fleet: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: ['printf \"%s\\\\n\" *', cat text]}"
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file, "text": "old\n", ".gitignore": "*.log\n"})
    (project / "text").write_text("new\n")
    (project / "debug.log").write_text("noise\n")
    (project / "größer als").write_text("x\n")
    done = fleet.run(project)
    assert done.status == 0, done.err
    log = fleet.log(done.json["id"], "job")
    assert "new\n" in log
    assert "größer als" in log
    assert "debug.log" not in log


def test_a_job_that_waits_for_its_needs_is_held_ready_and_takes_no_slot(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    file = """
default: {image: longshore/busybox:test}
slow: {script: ['while [ ! -e /tmp/go ]; do sleep 0.1; done']}
waiter: {needs: [slow], script: [echo done]}
"""
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: fleet.status(run, "waiter") == "waiting")
    eventually(lambda: fleet.status(run, "slow") == "running")
    jobs = jobs_of(fleet.show(run))
    worker = next(each for each in fleet.workers() if each["name"] == jobs["waiter"]["worker"])
    assert worker["waiting"] >= 1
    coordinator = fleet.coordinator_id
    eventually(lambda: len(running(docker_client, coordinator, run)) == 2)
    for container in running(docker_client, coordinator, run):
        container.exec_run(["touch", "/tmp/go"])
    assert fleet.finished(run)["status"] == "success"


def test_a_job_for_which_there_is_no_worker_says_so(fleet: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, tags: [gpu, third], script: [echo ran]}"
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    reason = eventually(lambda: fleet.job(run, "job").pending_reason)
    assert fleet.status(run, "job") == "pending"
    assert "gpu" in str(reason)
    assert fleet.command("cancel", str(run)).status == 0
    assert fleet.finished(run)["status"] == "canceled"


def test_only_one_job_and_what_it_needs(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": PIPELINE, "run.sh": "#!/bin/sh\n"})
    done = fleet.run(project, "--job", "join", "--var", "COLOR=red")
    assert done.status == 0, done.err
    assert statuses(done.json) == {"build-a": "success", "build-b": "success", "join": "success"}
    assert "a is red\n" in fleet.log(done.json["id"], "join")


def test_the_script_runs_in_bash_where_the_image_has_it(fleet: System, tmp_path: Path) -> None:
    file = """
in-bash: {image: longshore/debian:test, script: ['[[ -n $BASH_VERSION ]] && echo "bash it is"']}
in-sh: {image: longshore/busybox:test, script: ['echo "bash: ${BASH_VERSION:-none}"']}
"""
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    assert done.status == 0, done.err
    assert "bash it is\n" in fleet.log(done.json["id"], "in-bash")
    assert "bash: none\n" in fleet.log(done.json["id"], "in-sh")


def test_logs_come_byte_for_byte_and_with_names(fleet: System, tmp_path: Path) -> None:
    file = r"""
default: {image: longshore/busybox:test}
raw: {script: ['printf "\377\000\001 no end"']}
lines: {script: ['i=0; while [ $i -lt 20000 ]; do echo "line $i"; i=$((i+1)); done']}
"""
    project = repository(tmp_path / "project", {".gitlab-ci.yml": file})
    done = fleet.command("run", cwd=project)
    assert done.status == 0, done.err
    wanted = [f"lines | line {number}" for number in range(20000)]
    assert [line for line in done.out.splitlines() if line.startswith("lines | line ")] == wanted
    run = fleet.command("list", "--json").json[0]["id"]
    log = fleet.log(run, "lines")
    assert log.splitlines()[-20000:] == [line.removeprefix("lines | ") for line in wanted]
    followed = fleet.command("logs", str(run), "lines", "-f")
    assert followed.out == log
    assert "lines | line 19999\n" in fleet.command("logs", str(run)).out
