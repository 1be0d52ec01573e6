"""Plans agree with what the peer gitlab-ci-local makes of its own test cases, but for what GitLab's reference says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import forking
from tests.support.eventually import DEADLINE
from tests.support.system import LONGSHORE, commit_all

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "plan"
REMOTE = "git@gitlab.example.com:group/project.git"
WANTED: dict[str, dict[str, Any]] = {
    f"{path.parent.name}/{file}": wanted
    for path in sorted(CASES.glob("*/expect.json"))
    for file, wanted in json.loads(path.read_text()).items()
}
"""By folder and file: the exit status and the jobs."""

DIFFERENCES = {
    "needs-parallel-matrix-error/.gitlab-ci.yml": (
        "needs:parallel:matrix: 'identifiers and values must be selected from the identifiers and values defined in "
        "the parallel:matrix job'; the case's own comments say that anything else must be an error"
    ),
    "needs-parallel-matrix-static/.gitlab-ci.yml": (
        "parallel:matrix: jobs are named `job: [a, b]`, with a blank after the comma"
    ),
    "parallel/.gitlab-ci.yml": "parallel: jobs are 'named sequentially from job_name 1/N to job_name N/N'",
    "workflow-rules-variables/.gitlab-ci-no-match.yml": (
        "workflow:rules: 'When no rules evaluate to true, the pipeline does not run'"
    ),
}
"""Cases in which the peer does not do what GitLab's public reference says, each with what it says."""


def facts(job: dict[str, Any]) -> tuple[Any, ...]:
    """What the peer and `longshore plan --json` both say of a job; needs in no order, with what they leave out."""
    needs = job.get("needs")
    if needs is not None:
        needs = sorted((need["job"], need.get("artifacts", True), need.get("optional", False)) for need in needs)
    return job["name"], job["stage"], job["when"], job["allow_failure"], needs


def planned(jobs: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The jobs of a pipeline, in no order."""
    return sorted((facts(job) for job in jobs if job["when"] != "never"), key=repr)


@pytest.fixture(scope="module")
def project_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the repository of a folder of cases, once."""
    folder = tmp_path_factory.mktemp("cases")

    def project(case: str) -> Path:
        path = folder / case / "project"
        if not path.exists():
            shutil.copytree(CASES / case, path, ignore=shutil.ignore_patterns("expect.json"))
            commit_all(path)
            subprocess.run(["git", "remote", "add", "origin", REMOTE], cwd=path, check=True)
        return path

    return project


@pytest.mark.skipif(not WANTED, reason="the cases of others are not beside this checkout")
@pytest.mark.parametrize("key", WANTED or ["none"])
def test_a_plan_agrees_with_the_peer_s_but_for_the_known_differences(
    project_of: Callable[[str], Path], key: str
) -> None:
    case, _, file = key.partition("/")
    wanted = WANTED[key]
    command = [str(LONGSHORE), "plan", file, "--json"]
    done = forking.run(command, cwd=project_of(case), environment=os.environ, within=DEADLINE)
    agrees = done.returncode == wanted["exit"]
    if agrees and done.returncode == 2:
        assert done.stderr.strip(), "a clear error"
        assert b"Traceback" not in done.stderr
    elif agrees:
        agrees = planned(json.loads(done.stdout)) == planned(wanted["jobs"])
    assert agrees is (key not in DIFFERENCES), (done.stdout, done.stderr, wanted)


@pytest.mark.skipif(not WANTED, reason="the cases of others are not beside this checkout")
def test_each_known_difference_is_one_of_a_case() -> None:
    assert WANTED.keys() >= DIFFERENCES.keys()
