"""A part of a pipeline runs again, with the artifacts of an earlier run."""

from __future__ import annotations

from pathlib import Path

from tests.support.system import System, repository

FILE = """
default: {image: longshore/busybox:test}
stages: [make, test, use]
make:
  stage: make
  script: ["echo made by $CI_PIPELINE_ID > made", "echo NUMBER=$CI_PIPELINE_ID > env"]
  artifacts: {paths: [made], reports: {dotenv: env}}
test:
  stage: test
  needs: [make]
  script: [cat made, 'echo "number $NUMBER"', test -e good, echo tested > tested]
  artifacts: {paths: [tested]}
use:
  stage: use
  script: [cat made tested]
"""


def runs_of(system: System) -> list[int]:
    """The fleet is shared with other tests, and their projects."""
    return [run["id"] for run in system.command("list", "--project", "local/reused", "--json").json]


def jobs_of(system: System, run: int) -> dict[str, str]:
    view = system.command("show", str(run), "--json").json
    return {job["name"]: job["status"] for stage in view["stages"] for job in stage["jobs"]}


def test_a_failed_job_runs_again_with_the_files_as_they_are_now(fleet: System, tmp_path: Path) -> None:
    project = repository(tmp_path / "reused", {".gitlab-ci.yml": FILE})
    for arguments, said in (
        (["--job", "test", "--no-needs"], "job 'test' needs job 'make', which has not succeeded in a run of"),
        (["--from", "nope"], "the pipeline has no job 'nope'"),
        (["--from", "test", "--reuse", "99"], "there is no run 99"),
    ):
        refused = fleet.command("run", *arguments, cwd=project)
        assert (refused.status, said in refused.err) == (2, True), refused.err
    assert runs_of(fleet) == []
    assert fleet.command("run", cwd=project).status == 1
    (first,) = runs_of(fleet)
    assert jobs_of(fleet, first) == {"make": "success", "test": "failed", "use": "skipped"}

    (project / "good").touch()
    again = fleet.command("run", "--from", "test", cwd=project)
    assert again.status == 0, again.out + again.err
    assert f"using the artifacts of make of run {first}" in again.err
    assert f"made by {first}" in again.out
    assert f"number {first}" in again.out
    second, _ = runs_of(fleet)
    assert jobs_of(fleet, second) == {"test": "success", "use": "success"}

    alone = fleet.command("run", "--job", "use", "--no-needs", cwd=project)  # each job from the newest run that has it
    assert alone.status == 0, alone.err
    assert f"using the artifacts of make of run {first}" in alone.err
    assert f"using the artifacts of test of run {second}" in alone.err
    assert "tested" in alone.out
    named = fleet.command("run", "--job", "test", "--no-needs", "--reuse", str(second), cwd=project)
    assert "which has not succeeded in run" in named.err
