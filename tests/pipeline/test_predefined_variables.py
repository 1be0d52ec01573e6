"""The predefined variables: docs/predefined-variables.md has all of GitLab's, and says what is so."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.executors.base import Slot
from daemon.executors.common.environment import Start, job_environment
from protocol.job_variables import of_job
from protocol.plan import Plan
from tests.support.plans import assignment
from tests.support.project import Project

DOCUMENT = Path(__file__).parents[2] / "docs" / "predefined-variables.md"
GITLAB = Path(__file__).parent / "gitlab_variables.txt"
"""The names in GitLab's own table."""
ELSEWHERE = {
    *("CI_DEBUG_TRACE", "CI_DEBUG_SERVICES"),
    *("CI_UPSTREAM_JOB_ID", "CI_UPSTREAM_PIPELINE_ID", "CI_UPSTREAM_PROJECT_ID"),
    "CI_PIPELINE_SCHEDULE_DESCRIPTION",
}
"""Set by users only, in pipelines that jobs start only (see `tests/coordinator/children`), or by schedules only (see
`tests/system/test_schedules.py`).
"""
TEXT = """\
workflow: {name: some}
job:
  script: [x]
  image: alpine
  parallel: 2
  rules: [when: manual]
  environment: {name: production, url: https://example.com}
  services: [redis]
"""
REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event"}


@pytest.fixture
def topic(project: Project) -> Project:
    """A repository with a remote, on a branch beside the default one."""
    project.commit("base")
    project.git("remote", "add", "origin", "git@gitlab.example.com:Group/sub/project.git")
    project.git("checkout", "-q", "-b", "topic")
    project.commit("change")
    return project


def of_plan(plan: Plan) -> set[str]:
    """The names of all variables in the jobs of a plan."""
    names: set[str] = set()
    for job in plan.jobs:
        given = assignment(
            attempt="7.1",
            **{key: getattr(job, key) for key in ("name", "variables", "image", "services", "tags")},
            predefined=plan.predefined,
        )
        start = Start(datetime(2026, 1, 2, tzinfo=UTC), Slot())
        names |= job_environment(given, "w", "alpine", (), start, network="n").values.keys()
    return names | {variable.key for variable in of_job(1, 0.0, 7)}


def test_the_document_has_every_variable_of_gitlab_s_and_says_whether_it_is_defined(topic: Project) -> None:
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    here = {name: note for names, note in rows for name in re.findall(r"`([A-Z0-9_]+)`", names)}
    wanted = GITLAB.read_text().split()
    assert sorted(here) == sorted(wanted)

    pipelines: list[dict[str, str]] = [
        {},
        {"CI_COMMIT_TAG": "v1"},
        {"CI_PIPELINE_SOURCE": "trigger"},
        REQUEST,
        {"CI_PIPELINE_SOURCE": "external_pull_request_event"},
    ]
    defined = set().union(*(of_plan(topic.plan(TEXT, variables=given)) for given in pipelines))
    absent = {name for name, note in here.items() if note.startswith("absent")}
    assert sorted(absent & defined) == []
    assert sorted(set(wanted) - absent - defined - ELSEWHERE) == []


def test_variables_that_only_jobs_have_are_unknown_to_rules(project: Project) -> None:
    names = ["CI_PROJECT_DIR", "CI_SERVER", "CI_REPOSITORY_URL", "CI_JOB_ID", "CI_PIPELINE_ID", "CI_CONCURRENT_ID"]
    text = "".join(f"{name}: {{script: [x], rules: [if: ${name}]}}\n" for name in [*names, "CI_PROJECT_PATH"])
    assert project.names(text) == ["CI_PROJECT_PATH"]
    given = {"CI_PROJECT_DIR": "/elsewhere"}
    assert project.names(text, variables=given) == ["CI_PROJECT_DIR", "CI_PROJECT_PATH"]
    assert project.variables("job: {script: [x]}\n")["CI_PROJECT_DIR"] == "/builds/local/project"


def test_a_branch_beside_the_default_one_knows_where_it_began(topic: Project) -> None:
    text = "job: {script: [x]}\n"
    variables = topic.variables(text)
    assert variables["CI_COMMIT_DEFAULT_BRANCH_BASE_SHA"] == topic.git("rev-parse", "main")
    assert variables["CI_CONFIG_REF_URI"] == "gitlab.example.com/Group/sub/project//.gitlab-ci.yml@refs/heads/topic"
    assert variables["CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX"] == (
        "gitlab.example.com:443/group/dependency_proxy/containers"
    )
    assert variables["CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX"] == (
        "gitlab.example.com:443/group/sub/dependency_proxy/containers"
    )
    of_tag = topic.variables(text, variables={"CI_COMMIT_TAG": "v1"})
    assert of_tag["CI_CONFIG_REF_URI"].endswith("@refs/tags/v1")
    topic.git("checkout", "-q", "main")
    assert "CI_COMMIT_DEFAULT_BRANCH_BASE_SHA" not in topic.variables(text)
    topic.git("remote", "remove", "origin")
    assert "CI_DEPENDENCY_PROXY_SERVER" not in topic.variables(text)


def test_a_merge_request_has_the_tips_of_its_branches_if_its_result_is_tested(topic: Project) -> None:
    text = "job: {script: [x], rules: [if: $CI_MERGE_REQUEST_IID]}\n"
    names = ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_MERGE_REQUEST_TARGET_BRANCH_SHA")
    detached = topic.variables(text, variables=REQUEST)
    assert [detached[name] for name in names] == ["", ""]
    assert detached["CI_OPEN_MERGE_REQUESTS"] == "Group/sub/project!1"
    merged = topic.variables(text, variables=REQUEST | {"CI_MERGE_REQUEST_EVENT_TYPE": "merged_result"})
    assert [merged[name] for name in names] == [topic.git("rev-parse", "topic"), topic.git("rev-parse", "main")]


def test_a_worker_s_labels_are_its_tags_and_one_without_labels_has_those_that_the_job_asks_for() -> None:
    job = assignment("x", tags=['a "b"', "ä"])
    tags = [job_environment(job, "w", "", labels=labels).values["CI_RUNNER_TAGS"] for labels in ((), ("gpu", "linux"))]
    assert tags == ['["a \\"b\\"", "ä"]', '["gpu", "linux"]']
