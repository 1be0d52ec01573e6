"""How jobs and runs end badly: the reason is told, what depends on them is skipped, nothing is left in Docker."""

from __future__ import annotations

from pathlib import Path

import docker

from tests.support.documents import check_document
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import UNTIL_TOLD, System, jobs_of, repository, running, statuses, tell


def test_a_failing_script_stops_there_and_skips_what_depends_on_it(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
stages: [one, two, three]
bad: {stage: one, script: [echo before, 'false', echo never-printed], after_script: [echo after]}
good: {stage: one, script: [sleep 0.5, echo fine]}
next: {stage: two, script: [echo unreached]}
needs-good: {stage: two, needs: [good], script: [echo reached]}
needs-bad: {stage: two, needs: [bad], script: [echo unreached]}
rescue: {stage: three, when: on_failure, script: [echo rescued]}
always: {stage: three, when: always, script: [echo always]}
"""
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    assert done.status == 1
    run = done.json
    assert run["status"] == "failed"
    assert statuses(run) == {
        "bad": "failed",
        "good": "success",
        "next": "skipped",
        "needs-good": "success",
        "needs-bad": "skipped",
        "rescue": "success",
        "always": "success",
    }
    bad = jobs_of(run)["bad"]
    assert (bad["exit_code"], bad["failure_reason"], bad["attempt"]) == (1, "script_failure", 1)
    check_document("run", run)
    (failure,) = run["failures"]
    assert failure["last_lines"] == ["$ echo before", "before", "$ false"]
    assert f"  run again: longshore retry {run['id']} bad\n" in done.err
    path = [step["job"] for step in run["critical_path"]]  # jobs side by side: either may be the last to end
    assert path[0] in {"good", "bad"}
    assert path[-1] in {"rescue", "always"}
    log = fleet.log(run["id"], "bad")
    assert "before\n" in log
    assert "\nnever-printed" not in log
    why = fleet.command("show", str(run["id"]), "--why", "bad")
    assert why.status == 0
    assert "script_failure" in why.out


def test_a_missing_image_is_named_with_the_engines_message(fleet: System, tmp_path: Path) -> None:
    file = "job: {image: 'localhost:1/no/such:image', script: [echo unreached]}"
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    assert done.status == 1
    job = jobs_of(done.json)["job"]
    assert job["failure_reason"] == "image_pull_failure"
    assert "localhost:1" in job["message"]


def test_a_timeout_stops_the_container_and_after_script_still_runs(fleet: System, tmp_path: Path) -> None:
    file = """
job:
  image: longshore/busybox:test
  timeout: 2 seconds
  script: [echo started, sleep 300]
  after_script: ['echo "after: $CI_JOB_STATUS"']
later: {image: longshore/busybox:test, stage: deploy, script: [echo unreached]}
"""
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    assert done.status == 1
    jobs = jobs_of(done.json)
    assert jobs["job"]["failure_reason"] == "job_execution_timeout"
    assert jobs["later"]["status"] == "skipped"
    log = fleet.log(done.json["id"], "job")
    assert "started\n" in log
    assert "after: failed\n" in log


def test_cancel_stops_containers_at_once_and_after_script_still_runs(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
job:
  script: [echo started, sleep 300]
  after_script: ['echo "after: $CI_JOB_STATUS"']
waits: {needs: [job], script: [echo unreached]}
later: {stage: deploy, script: [echo unreached]}
"""
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: "started" in fleet.logged(run, "job"))
    assert fleet.command("cancel", str(run)).status == 0
    view = fleet.finished(run)
    assert view["status"] == "canceled"
    assert set(statuses(view).values()) == {"canceled"}
    assert "after: canceled\n" in fleet.log(run, "job")


def test_cancel_waits_for_no_entrypoint(fleet: System, tmp_path: Path, docker_client: docker.DockerClient) -> None:
    file = """
job:
  image: {name: longshore/busybox:test, entrypoint: [sh, -c, 'exec sleep 1000']}
  script: [echo unreached]
"""
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: running(docker_client, fleet.coordinator_id, run))
    assert fleet.command("cancel", str(run)).status == 0
    assert fleet.finished(run)["status"] == "canceled"


def test_one_job_can_be_canceled(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
long: {script: [sleep 300]}
short: {script: [sleep 1, echo fine]}
"""
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: fleet.status(run, "long") == "running")
    assert fleet.command("cancel", str(run), "long").status == 0
    assert statuses(fleet.finished(run)) == {"long": "canceled", "short": "success"}


def test_a_followed_run_that_is_canceled_ends_with_3(fleet: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo up, sleep 300]}"
    follower = fleet.start("run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: "job | up\n" in follower.out.read_text())
    run = fleet.command("list", "--json").json[0]["id"]
    assert fleet.command("cancel", str(run)).status == 0
    assert follower.popen.wait(DEADLINE) == 3
    assert "canceled" in follower.out.read_text()


def test_ctrl_c_at_a_named_coordinator_ends_the_following_and_not_the_run(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    file = f'job: {{image: longshore/busybox:test, script: [echo up, "{UNTIL_TOLD}"]}}'
    follower = fleet.start("run", cwd=repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    eventually(lambda: "job | up\n" in follower.out.read_text())
    follower.interrupt()
    assert follower.popen.wait(DEADLINE) == 130
    run = fleet.command("list", "--json").json[0]["id"]
    assert f"longshore cancel {run}" in follower.said
    tell(docker_client, fleet.coordinator_id, run)
    assert fleet.finished(run)["status"] == "success"


def test_a_failed_job_is_tried_again_by_hand(fleet: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
stages: [a, b]
kept: {stage: a, script: [echo kept]}
flaky: {stage: a, script: ['test "$CI_JOB_ID" = x || exit 1']}
after: {stage: b, script: [echo after]}
"""
    done = fleet.run(repository(tmp_path / "project", {".gitlab-ci.yml": file}))
    assert done.status == 1
    run = done.json["id"]
    assert fleet.command("retry", str(run)).status == 0
    jobs = jobs_of(
        eventually(lambda: (view := fleet.finished(run)) and jobs_of(view)["flaky"]["attempt"] == 2 and view)
    )
    assert (jobs["kept"]["attempt"], jobs["flaky"]["attempt"], jobs["after"]["status"]) == (1, 2, "skipped")
    assert fleet.command("logs", str(run), "flaky", "--attempt", "1").status == 0


def test_without_an_engine_a_worker_says_one_clear_line(system: System) -> None:
    system.start_coordinator()
    system.extra["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    done = system.command("worker", "--coordinator", system.address or "")
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "Docker" in done.err.splitlines()[-1]


def test_an_embedded_run_without_an_engine_says_one_clear_line(system: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "project", {".gitlab-ci.yml": "job: {image: x, script: [echo x]}"})
    system.extra["DOCKER_HOST"] = "unix:///nonexistent/docker.sock"
    done = system.command("run", cwd=project)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "Docker" in done.err


def test_without_a_coordinator_verbs_end_with_4(system: System) -> None:
    system.extra["LONGSHORE_COORDINATOR"] = "tcp://127.0.0.1:9"
    done = system.command("list")
    assert done.status == 4
    assert "tcp://127.0.0.1:9" in done.err
