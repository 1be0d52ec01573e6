"""Edit, retry, see: a failed job of a run runs again on the files as they are now."""

from __future__ import annotations

from pathlib import Path

import docker

from tests.support.documents import check_document
from tests.support.eventually import eventually
from tests.support.system import UNTIL_TOLD, System, jobs_of, repository, tell

FILE = f"""
default: {{image: longshore/busybox:test}}
make:
  script: ["echo made by $CI_PIPELINE_ID > made"]
  artifacts: {{paths: [made]}}
test:
  needs: [make]
  script: [cat made answer, grep -q 42 answer, "{UNTIL_TOLD}"]
use:
  needs: [test]
  script: [cat answer]
"""


def test_a_job_runs_again_on_edited_files_though_coordinator_and_worker_are_killed_meanwhile(
    system: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    coordinator = system.start_coordinator()
    worker = system.start_worker("w1")
    system.wait_for_workers(1)
    project = repository(tmp_path / "retried", {".gitlab-ci.yml": FILE, "answer": "41\n", "docs/note": ""})
    other = repository(tmp_path / "other", {"note": ""})
    assert system.address is not None
    failed = system.command("run", "--coordinator", system.address, cwd=project)
    assert failed.status == 1, failed.err
    again = f"longshore --coordinator {system.address} retry --with-workspace 1 test"
    assert f"run again on edited files: {again}\n" in failed.out
    (project / "answer").write_text("42\n")
    for arguments, folder, problem in (
        (["1", "test"], other, "run 1 is of the project 'local/retried'"),
        (["1"], project, "name the JOB"),
        (["1", "nope"], project, "run 1 has no job 'nope'"),
        (["2", "test"], project, "there is no run 2"),
    ):
        refused = system.command("retry", "--with-workspace", *arguments, cwd=folder)
        assert (refused.status, problem in refused.err) == (2, True), refused.err

    worker.kill()  # nobody can take the job before the coordinator has forgotten all that it has not written
    retried = system.command(*again.split()[1:], cwd=project / "docs")
    assert retried.status == 0, retried.err
    assert f"test on the files of {project};" in retried.out
    coordinator.kill()
    coordinator, worker = system.start_coordinator(), system.start_worker("w1")
    eventually(lambda: "made by 1\n42\n" in system.logged(1, "test"))
    worker.kill()
    coordinator.kill()
    system.start_coordinator()
    system.start_worker("w1")
    tell(docker_client, system.coordinator_id, 1, "test")
    run = system.finished(1)
    check_document("run", run)
    assert run["status"] == "success"
    assert system.log(1, "use").endswith("41\n"), "the other jobs have the files of the run"
    jobs = jobs_of(run)
    assert (jobs["make"]["attempt"], jobs["test"]["attempt"]) == (1, 2)
    assert jobs["use"]["workspace"] is None

    detail = system.command("show", "1", "test", "--json").json
    check_document("job", detail)
    assert [attempt["workspace"] for attempt in detail["attempts"]] == [None, jobs["test"]["workspace"]]
    assert jobs["test"]["workspace"][:12] in system.command("show", "1", "test").out
    assert "retried, on files of its own" in [line["text"] for line in detail["story"]]
