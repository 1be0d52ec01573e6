"""Pipelines of other projects and artifacts of other pipelines, in real Docker: brought along by a client that is gone,
or known by their runs, across kills of the coordinator.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, jobs_of, repository, statuses

APP = """
stages: [build, test]
default: {image: longshore/busybox:test}
make:
  stage: build
  script: [echo from app > out.txt, 'echo "VERSION=1.2" > v.env', 'echo "project $CI_PROJECT_ID"']
  artifacts: {paths: [out.txt], reports: {dotenv: v.env}}
down:
  stage: test
  variables: {WHO: "job of $CI_PROJECT_PATH"}
  trigger: {project: group/lib, strategy: depend}
child:
  stage: test
  variables: {PARENT: $CI_PIPELINE_ID}
  trigger: {include: child.yml, strategy: depend}
unknown:
  stage: test
  allow_failure: true
  trigger: {project: group/nothing}
"""
CHILD = """
take:
  image: longshore/busybox:test
  needs: [{pipeline: $PARENT, job: make}]
  script: ['cat out.txt', 'echo version $VERSION']
missing:
  allow_failure: true
  needs: [{pipeline: $PARENT, job: nothing}]
  script: [x]
"""
LIB = """
use:
  image: longshore/busybox:test
  needs: [{project: local/app, job: make, ref: main, artifacts: true}]
  script:
    - 'echo "$CI_PIPELINE_SOURCE of $CI_PROJECT_PATH at $CI_COMMIT_BRANCH by $CI_UPSTREAM_PIPELINE_ID: $WHO"'
    - echo "project $CI_UPSTREAM_PROJECT_ID, not $CI_PROJECT_ID"
    - cat out.txt lib.txt
"""
OTHER = """
start: {trigger: group/lib}
same: {needs: {pipeline: group/lib}}
"""


def projects(folder: Path) -> tuple[Path, Path]:
    """The projects `local/app`, and another one with an uncommitted change."""
    app = repository(folder / "app", {".gitlab-ci.yml": APP, "child.yml": CHILD})
    lib = repository(folder / "lib", {".gitlab-ci.yml": LIB, "lib.txt": "committed\n"})
    (lib / "lib.txt").write_text("uncommitted\n")
    return app, lib


def test_a_pipeline_starts_that_of_another_project_when_its_client_is_gone_and_the_coordinator_was_killed(
    system: System, tmp_path: Path
) -> None:
    coordinator = system.start_coordinator()
    for name in ("w1", "w2"):
        system.start_worker(name, "--slots", "2")
    system.wait_for_workers(2)
    app, lib = projects(tmp_path)
    run = system.submit(app, "--project", f"group/lib={lib}")
    (lib / ".gitlab-ci.yml").unlink()
    for reached in (("created", "pending", "running", "success"), ("running", "success")):
        eventually(partial(system.status, run, "down"), so=reached.__contains__)
        coordinator.kill()
        coordinator = system.start_coordinator()

    view = system.finished(run)
    jobs = jobs_of(view)
    assert statuses(view) == {"make": "success", "down": "success", "child": "success", "unknown": "failed"}
    assert jobs["unknown"]["failure_reason"] == "downstream_bridge_project_not_found"
    assert "give --project group/nothing=DIR" in jobs["unknown"]["message"]

    (down,) = jobs["down"]["child_runs"]
    assert jobs["down"]["downstream_project"] == "group/lib"
    other = system.finished(down)
    assert (other["project"], other["parent"]) == (
        "group/lib",
        {"run": run, "job": "down", "project": "local/app"},
    )
    log = system.log(down, "use")
    assert f"pipeline of group/lib at main by {run}: job of local/app\n" in log
    assert "from app\nuncommitted\n" in log
    (app_id,) = re.findall(r"^project (\d+)$", system.log(run, "make"), re.MULTILINE)
    (seen,) = re.findall(r"^project (\d+), not (\d+)$", log, re.MULTILINE)
    assert seen[0] == app_id != seen[1]

    (child,) = jobs["child"]["child_runs"]
    assert "from app\n$ echo version $VERSION\nversion 1.2\n" in system.log(child, "take")
    missing = jobs_of(system.show(child))["missing"]
    assert missing["failure_reason"] == "missing_dependency_failure"
    assert f"run {run} has no such job that has succeeded yet" in missing["message"]

    assert f"started run {down} of group/lib" in system.command("show", str(run)).out
    assert f"(started by {run}: down of local/app)" in system.command("list").out
    assert "down/use" in system.command("logs", str(run), "--children").out

    # By now the coordinator knows the project: nothing is brought along.
    third = repository(tmp_path / "third", {".gitlab-ci.yml": OTHER})
    again = system.finished(system.submit(third))
    assert statuses(again) == {"start": "success", "same": "success"}
    (known,) = jobs_of(again)["start"]["child_runs"]
    assert system.finished(known)["status"] == "success"
    assert "from app\nuncommitted\n" in system.log(known, "use")
    assert jobs_of(again)["same"]["mirrors"] in (down, known)


def test_canceling_a_run_leaves_that_of_another_project_alone(fleet: System, tmp_path: Path) -> None:
    app = repository(tmp_path / "app", {".gitlab-ci.yml": "down: {trigger: {project: group/lib, strategy: depend}}"})
    text = "long: {image: longshore/busybox:test, script: [echo begun, 'until test -e /tmp/go; do sleep 0.1; done']}"
    lib = repository(tmp_path / "lib", {".gitlab-ci.yml": text})
    run = fleet.submit(app, "--project", f"group/lib={lib}")
    (other,) = eventually(lambda: fleet.job(run, "down").child_runs)
    eventually(lambda: "begun\n" in fleet.logged(other, "long"))
    follower = fleet.start("logs", str(run), "-f", "--children")
    assert fleet.command("cancel", str(run)).status == 0
    assert fleet.finished(run)["status"] == "canceled"
    assert follower.popen.wait(DEADLINE) == 0
    assert fleet.show(other)["status"] == "running"
    assert fleet.command("cancel", str(other)).status == 0
    assert fleet.finished(other)["status"] == "canceled"
