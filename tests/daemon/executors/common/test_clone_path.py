"""GIT_CLONE_PATH chooses the project's directory, below that of all builds."""

from __future__ import annotations

import pytest

from daemon.executors.base import JobFailed
from daemon.executors.common.clone_path import at_clone_path
from daemon.executors.common.environment import Start, job_environment
from protocol.plan import Variable
from tests.support.plans import PROJECT_DIR, assignment, variables

PREDEFINED = variables(CI_BUILDS_DIR="/builds", CI_PROJECT_PATH="group/project", CI_PROJECT_DIR=PROJECT_DIR)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("$CI_BUILDS_DIR/go/src/$CI_PROJECT_PATH/", "/builds/go/src/group/project"),
        ("$CI_BUILDS_DIR/$CI_CONCURRENT_ID/$CI_PROJECT_PATH", "/builds/0/group/project"),
        ("/builds/a b/../c", "/builds/c"),
        (" ", PROJECT_DIR),
    ],
)
def test_the_project_is_where_the_job_wants_it(written: str, path: str) -> None:
    job = at_clone_path(
        assignment("x", predefined=PREDEFINED, variables=variables(GIT_CLONE_PATH=written, OUT="$CI_PROJECT_DIR/out"))
    )
    values = job_environment(job, "worker", "", (), Start()).values
    assert (job.project_dir, values["CI_PROJECT_DIR"], values["OUT"]) == (path, path, f"{path}/out")
    assert values["GIT_CLONE_PATH"].strip() in (path, "")


def test_a_job_without_it_is_left_alone() -> None:
    job = assignment("x", predefined=PREDEFINED)
    assert at_clone_path(job) is job


@pytest.mark.parametrize(
    "written", ["/builds", "/builds/../etc", "relative", "/buildsx/a", "/builds/a:b", "/builds/a\nb"]
)
def test_a_directory_elsewhere_fails_the_job_and_says_what_is_wanted(written: str) -> None:
    given = [Variable(key="GIT_CLONE_PATH", value=written)]
    with pytest.raises(JobFailed, match=r"can't be used: it is a directory below /builds \(\$CI_BUILDS_DIR\)"):
        at_clone_path(assignment("x", run_variables=given))
