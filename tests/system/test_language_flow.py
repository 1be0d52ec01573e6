"""When jobs run, run again, wait and give way holds for real: retry, manual, delayed, resource_group, interruptible."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import docker

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import LONGSHORE, System, commit_all, jobs_of, repository, running, statuses

HEAD = "default: {image: longshore/busybox:test}\n"
UNTIL_TOLD = "'while [ ! -e /tmp/go ]; do sleep 0.1; done'"


def project(tmp_path: Path, file: str, **others: str) -> Path:
    """A repository whose pipeline's jobs run in busybox."""
    return repository(tmp_path / "project", {".gitlab-ci.yml": HEAD + file, **others})


def go(client: docker.DockerClient, system: System, run: int, job: str) -> None:
    """Lets a job that runs UNTIL_TOLD go on."""
    coordinator = system.coordinator_id
    eventually(lambda: system.status(run, job) == "running")
    for container in running(client, coordinator, run, job):
        container.exec_run(["touch", "/tmp/go"])


def seconds(moment: str) -> float:
    """A time of the JSON as a number."""
    return datetime.fromisoformat(moment).timestamp()


def attempts(run: dict[str, Any]) -> dict[str, int]:
    """How often each job was tried."""
    return {name: job["attempt"] for name, job in jobs_of(run).items()}


def test_a_job_is_tried_again_for_its_reasons_and_exit_codes_only(fleet: System, tmp_path: Path) -> None:
    file = """
by-code: {retry: {max: 2, exit_codes: [42]}, script: [exit 42], allow_failure: true}
other-code: {retry: {max: 2, exit_codes: [41]}, script: [exit 42], allow_failure: true}
by-reason: {retry: {max: 1, when: script_failure}, script: [exit 1], allow_failure: true}
other-reason: {retry: {max: 1, when: [image_pull_failure]}, script: [exit 1], allow_failure: true}
always: {retry: 1, script: [exit 1], allow_failure: true}
pull:
  image: {name: "longshore/nowhere:1", pull_policy: never}
  retry: {max: 1, when: image_pull_failure}
  script: [echo]
  allow_failure: true
flaky:
  cache: {key: $CI_PIPELINE_ID-$CI_PROJECT_DIR, paths: [tried], when: always}
  retry: 2
  script: ['if [ -e tried ]; then echo well; else touch tried; exit 1; fi']
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, (statuses(done.json), done.err)
    assert attempts(done.json) == {
        "by-code": 3,
        "other-code": 1,
        "by-reason": 2,
        "other-reason": 1,
        "always": 2,
        "pull": 2,
        "flaky": 2,
    }
    first = fleet.command("logs", str(done.json["id"]), "flaky", "--attempt", "1").out
    assert "well\n" not in first.replace("echo well", "")


def test_a_run_waits_for_its_manual_job_says_how_to_play_it_and_has_not_failed(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [build, deploy, after]
build: {stage: build, script: [echo built]}
deploy: {stage: deploy, rules: [{when: manual}], variables: {TO: nowhere}, script: ['echo "deployed to $TO"']}
optional: {stage: deploy, when: manual, script: [echo optional]}
after: {stage: after, script: [echo after]}
"""
    folder = project(tmp_path, file)
    done = fleet.command("run", cwd=folder)
    assert done.status == 0, done.err
    run = fleet.command("list", "--json").json[0]["id"]
    assert f"run {run} continues when these jobs are played:" in done.err
    assert f"longshore play {run} deploy\n" in done.err
    assert "optional\n" not in done.err
    assert statuses(fleet.show(run)) == {
        "build": "success",
        "deploy": "manual",
        "optional": "manual",
        "after": "created",
    }
    played = fleet.command("play", str(run), "deploy", "--var", "TO=production")
    assert played.status == 0, played.err
    assert fleet.finished(run)["status"] == "success"
    assert "deployed to production\n" in fleet.log(run, "deploy")
    again = fleet.command("play", str(run), "deploy")
    assert again.status == 2
    assert "there is nothing to play" in again.err


def test_a_job_runs_with_the_inputs_that_it_is_played_and_retried_with(fleet: System, tmp_path: Path) -> None:
    file = """
deploy:
  when: manual
  inputs:
    to: {default: staging, options: [staging, production]}
    replicas: {type: number, default: 1}
    image: {default: "longshore/nowhere:1"}
  image: ${{ job.inputs.image }}
  script:
    - echo "deployed ${{ job.inputs.replicas * 2 }} to ${{ job.inputs.to }}" | tee ${{ job.inputs.to }}.txt
  artifacts: {paths: ["${{ job.inputs.to }}.txt"]}
"""
    run = str(fleet.submit(project(tmp_path, file)))
    eventually(lambda: fleet.status(int(run), "deploy") == "manual")
    refused = fleet.command("play", run, "deploy", "--input", "to=nowhere")
    assert refused.status == 2
    assert "'nowhere' is not among the input's options: 'staging', 'production'" in refused.err
    image = "image=longshore/busybox:test"
    assert fleet.command("play", run, "deploy", "--input", "replicas=2.5", "--input", image).status == 0
    assert fleet.finished(int(run))["status"] == "success"
    assert "deployed 5 to staging\n" in fleet.log(int(run), "deploy")
    assert fleet.command("retry", run, "deploy", "--input", "to=production").status == 0
    assert fleet.finished(int(run))["status"] == "success"
    assert "deployed 5 to production\n" in fleet.log(int(run), "deploy")
    shown = fleet.command("show", run, "deploy", "--json").json
    assert [(attempt["inputs"]["to"], attempt["inputs"]["replicas"]) for attempt in shown["attempts"]] == [
        ("staging", 2.5),
        ("production", 2.5),
    ]
    assert shown["inputs"]["to"]["value"] == "production"
    assert [artifact["kind"] for artifact in shown["artifacts"]] == ["archive"]


def test_a_run_that_waits_for_a_manual_job_has_failed_where_another_job_has(fleet: System, tmp_path: Path) -> None:
    file = """
fails: {script: [exit 1]}
deploy: {when: manual, allow_failure: false, script: [echo]}
"""
    done = fleet.run(project(tmp_path, file))
    assert (done.json["status"], done.status) == ("manual", 1)
    assert fleet.command("cancel", str(done.json["id"])).status == 0


def test_a_job_that_wants_to_be_confirmed_asks_on_a_terminal(fleet: System, tmp_path: Path) -> None:
    file = "deploy: {when: manual, allow_failure: false, manual_confirmation: Sure?, script: [echo deployed]}\n"
    run = fleet.submit(project(tmp_path, file))
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"n\n")
        asked = subprocess.run(
            [LONGSHORE, "play", str(run), "deploy"],
            env=fleet.environment(),
            stdin=theirs,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert asked.returncode != 0
    assert b"Sure? [y/N]" in asked.stderr
    assert fleet.status(run, "deploy") == "manual"
    assert fleet.command("play", str(run), "deploy", "--yes").status == 0
    assert fleet.finished(run)["status"] == "success"


def test_a_delayed_job_starts_after_its_time_or_when_it_is_played(fleet: System, tmp_path: Path) -> None:
    file = """
soon: {when: delayed, start_in: 2 seconds, script: [echo soon]}
later: {when: delayed, start_in: 1 hour, script: [echo later]}
"""
    folder = project(tmp_path, file)
    run = fleet.submit(folder)
    created = jobs_of(fleet.show(run))["later"]
    assert created["status"] == "scheduled"
    assert created["pending_reason"].startswith("delayed until ")
    assert fleet.command("play", str(run), "later").status == 0
    jobs = jobs_of(fleet.finished(run))
    assert statuses(fleet.show(run)) == {"soon": "success", "later": "success"}
    assert seconds(jobs["soon"]["started_at"]) - seconds(jobs["soon"]["created_at"]) >= 2


def test_jobs_of_a_resource_group_run_one_at_a_time_across_runs_in_order(fleet: System, tmp_path: Path) -> None:
    folder = project(tmp_path, "deploy: {resource_group: production, script: [sleep 0.5]}\n")
    runs = [fleet.submit(folder) for _ in range(3)]
    spans = [jobs_of(fleet.finished(run))["deploy"] for run in runs]
    for before, after in itertools.pairwise(spans):
        assert seconds(before["finished_at"]) <= seconds(after["started_at"])


def test_a_newer_commit_of_the_branch_cancels_what_may_be_interrupted(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    file = f"""
workflow: {{auto_cancel: {{on_new_commit: interruptible}}}}
may: {{interruptible: true, script: [{UNTIL_TOLD}]}}
may-not: {{script: [{UNTIL_TOLD}]}}
"""
    folder = project(tmp_path, file)
    old = fleet.submit(folder)
    eventually(lambda: all(fleet.status(old, job) == "running" for job in ("may", "may-not")))
    (folder / "new").write_text("new\n")
    commit_all(folder)
    new = fleet.submit(folder)
    eventually(lambda: fleet.status(old, "may") == "canceled")
    assert fleet.status(old, "may-not") == "running"
    go(docker_client, fleet, old, "may-not")
    for job in ("may", "may-not"):
        go(docker_client, fleet, new, job)
    assert statuses(fleet.finished(old)) == {"may": "canceled", "may-not": "success"}
    assert fleet.finished(new)["status"] == "success"


def test_a_failure_cancels_the_rest_of_the_run_where_the_workflow_says_so(fleet: System, tmp_path: Path) -> None:
    file = """
workflow: {auto_cancel: {on_job_failure: all}}
fails: {script: [exit 1]}
long: {script: [sleep 300]}
"""
    done = fleet.run(project(tmp_path, file))
    assert statuses(done.json) == {"fails": "failed", "long": "canceled"}


def test_a_retry_keeps_what_succeeded_and_runs_again_what_depends_on_the_rest(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [make, use, end]
good: {stage: make, script: ['echo 1 >data'], artifacts: {paths: [data]}}
bad:
  stage: make
  cache: {key: $CI_PIPELINE_ID-$CI_PROJECT_PATH, paths: [tried], when: always}
  script: ['if [ -e tried ]; then echo well; else touch tried; exit 1; fi']
use: {stage: use, script: [cat data]}
own: {stage: use, needs: [good], script: [cat data]}
end: {stage: end, needs: [bad], script: [echo end]}
"""
    done = fleet.run(project(tmp_path, file))
    run = done.json["id"]
    assert done.status == 1
    assert statuses(done.json) == {
        "good": "success",
        "bad": "failed",
        "use": "skipped",
        "own": "success",
        "end": "skipped",
    }
    assert fleet.command("retry", str(run), "--failed").status == 0
    after = fleet.finished(run)
    assert after["status"] == "success"
    assert set(statuses(after).values()) == {"success"}
    tries = attempts(after)
    assert (tries["good"], tries["own"], tries["bad"]) == (1, 1, 2)
    assert "1\n" in fleet.log(run, "use")
    nothing = fleet.command("retry", str(run))
    assert nothing.status == 2
    assert "no job to retry" in nothing.err
    assert fleet.command("retry", str(run), "good").status == 0
    tries = attempts(fleet.finished(run))
    assert (tries["good"], tries["own"], tries["bad"]) == (2, 2, 2)


def test_expired_artifacts_are_not_handed_on(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [make, use]
make: {stage: make, script: ['echo 1 >data'], artifacts: {paths: [data], expire_in: 1 second}}
use: {stage: use, script: [cat data, exit 1]}
"""
    done = fleet.run(project(tmp_path, file))
    run = done.json["id"]
    assert jobs_of(done.json)["use"]["failure_reason"] == "script_failure"
    expiry = jobs_of(done.json)["make"]["artifacts"][0]["expires_at"]
    eventually(lambda: time.time() > seconds(expiry))
    assert fleet.command("retry", str(run), "use").status == 0
    job = jobs_of(fleet.finished(run))["use"]
    assert job["failure_reason"] == "missing_dependency_failure"
    assert "make have expired" in job["message"]


def test_tags_choose_the_worker_and_a_matrix_spreads_over_all(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [build, gather]
build:
  stage: build
  parallel: {matrix: [{OS: [linux, mac], ARCH: [x86, arm]}]}
  script: ['echo "$OS/$ARCH" >"$OS-$ARCH.txt"', sleep 1]
  artifacts: {paths: ["*.txt"]}
gather: {stage: gather, tags: [third], script: ['cat *.txt | sort | tr "\\n" " "']}
linux-only:
  stage: gather
  needs: [{job: build, parallel: {matrix: [{OS: linux, ARCH: [x86, arm]}]}}]
  script: ['echo *.txt']
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, done.err
    run, jobs = done.json["id"], jobs_of(done.json)
    assert jobs["gather"]["worker"] == "w3"
    assert len({job["worker"] for name, job in jobs.items() if name.startswith("build: ")}) > 1
    assert "linux/arm linux/x86 mac/arm mac/x86 " in fleet.log(run, "gather")
    assert "linux-arm.txt linux-x86.txt\n" in fleet.log(run, "linux-only")
