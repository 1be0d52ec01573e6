"""What a job is told of its project, its commit and its environment, from the repository to the script."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

from tests.support.system import System, commit_all, jobs_of, repository, statuses

HEAD = "default: {image: longshore/busybox:test}\n"


def project(tmp_path: Path, file: str, **others: str) -> Path:
    """A repository whose pipeline's jobs run in busybox."""
    return repository(tmp_path / f"p{uuid4().hex}", {".gitlab-ci.yml": HEAD + file, **others})


def test_a_job_runs_whatever_its_folder_is_called_and_however_long_its_commit_s_message_is(
    fleet: System, tmp_path: Path
) -> None:
    file = """
job:
  script:
    - cd $CI_PROJECT_DIR
    - test $(pwd) = $CI_PROJECT_DIR
    - case $CI_PROJECT_NAME in *[!A-Za-z0-9._-]*) exit 1 ;; esac
    - sh -c 'echo "${#CI_COMMIT_MESSAGE} characters, $CI_COMMIT_MESSAGE_IS_TRUNCATED"'
    - test "$CI_COMMIT_TITLE-${#CI_COMMIT_DESCRIPTION}" = squashed-100000
"""
    root = project(tmp_path / "mein projékt (2)", file)
    folder = root.rename(root.parent / f"große Änderung {uuid4().hex}")
    message = tmp_path / "message"
    message.write_text("squashed\n\n" + "* something was changed here\n" * 7_000)
    identity = ["-c", "user.email=dev@example.com", "-c", "user.name=Dev"]
    amend = ["git", *identity, "commit", "-q", "--amend", "-F", str(message)]
    subprocess.run(amend, cwd=folder, check=True, capture_output=True)
    done = fleet.run(folder)
    assert done.status == 0, done.err
    assert "100000 characters, true\n" in fleet.log(done.json["id"], "job")


def test_a_file_that_is_deleted_on_disk_is_neither_in_the_rules_nor_in_the_workspace(
    fleet: System, tmp_path: Path
) -> None:
    file = """
docker: {rules: [{exists: [Dockerfile]}], script: [test -f Dockerfile]}
other: {rules: [{exists: [new/file]}], script: [test -f new/file, test ! -e Dockerfile]}
"""
    root = project(tmp_path, file, Dockerfile="", new="a file, first")
    (root / "Dockerfile").unlink()
    (root / "new").unlink()
    (root / "new").mkdir()
    (root / "new" / "file").write_text("x")
    done = fleet.run(root)
    assert done.status == 0, done.err
    assert statuses(done.json) == {"other": "success"}


def test_a_job_whose_tags_expand_to_nothing_runs_on_any_worker(fleet: System, tmp_path: Path) -> None:
    file = """
job:
  parallel: {matrix: [{TAG: ["", third]}]}
  tags: [$RUNNER_TAG, " $TAG "]
  script: [echo ran]
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, done.err
    jobs = jobs_of(done.json)
    assert {name: job["status"] for name, job in jobs.items()} == {"job: []": "success", "job: [third]": "success"}
    assert jobs["job: [third]"]["worker"] == "w3"


def test_an_environment_s_address_is_the_same_in_the_job_and_for_readers(fleet: System, tmp_path: Path) -> None:
    file = """
stages: [build, deploy]
variables: {DOMAIN: example.com}
build:
  stage: build
  script: [echo HOST=given >env]
  artifacts: {reports: {dotenv: env}}
deploy:
  stage: deploy
  variables:
    ADDRESS: https://$HOST.$CI_ENVIRONMENT_SLUG.$DOMAIN/$CI_PIPELINE_ID/$CI_JOB_ID/$CI_RUNNER_DESCRIPTION
    HOST: of-the-job
  environment: {name: "review/$CI_COMMIT_REF_SLUG", url: "$ADDRESS?tier=${CI_ENVIRONMENT_TIER}&$UNKNOWN"}
  script: ['echo "URL=$CI_ENVIRONMENT_URL"']
dynamic:
  stage: deploy
  environment: {name: dynamic, url: "https://$HOST.$DOMAIN:$PORT"}
  script: [echo PORT=8080 >env]
  artifacts: {reports: {dotenv: env}}
"""
    done = fleet.run(project(tmp_path, file))
    assert done.status == 0, done.err
    run, jobs = done.json["id"], jobs_of(done.json)
    deploy = jobs["deploy"]
    start = f"https://given.review-main-yi2y9f.example.com/{run}/{deploy['id']}/{deploy['worker']}?tier=development&"
    assert f"URL={start}\n" in fleet.log(run, "deploy")
    assert deploy["environment_url"] == f"{start}$UNKNOWN"
    assert jobs["dynamic"]["environment_url"] == "https://given.example.com:8080"
    assert f"at {start}$UNKNOWN" in fleet.command("show", str(run), "deploy").out
    assert fleet.command("show", str(run), "deploy", "--json").json["environment_url"] == f"{start}$UNKNOWN"


def test_without_a_push_jobs_run_whose_files_have_not_changed(fleet: System, tmp_path: Path) -> None:
    file = "job: {rules: [{changes: [src/*]}], script: [echo ran]}\nother: {script: [echo ran]}\n"
    root = project(tmp_path, file, **{"src/a": "x"})
    (root / "b").write_text("x")
    commit_all(root)
    assert statuses(fleet.run(root).json) == {"other": "success"}
    scheduled = fleet.run(root, "--var", "CI_PIPELINE_SOURCE=schedule")
    assert statuses(scheduled.json) == {"job": "success", "other": "success"}
