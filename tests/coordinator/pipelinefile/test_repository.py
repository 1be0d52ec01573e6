"""What is known of a project: with and without git, a commit, a remote."""

from __future__ import annotations

import pytest

from coordinator.pipelinefile.predefined import environment_slug, environment_tier, slug
from coordinator.pipelinefile.repository import NO_SHA, Repository, parse_remote
from tests.coordinator.pipelinefile.project import Project

JOB = "job: {script: [x]}\n"


def test_a_folder_that_is_no_repository_works(project: Project) -> None:
    variables = project.variables(JOB)
    assert variables["CI_COMMIT_SHA"] == NO_SHA
    assert (variables["CI_COMMIT_BRANCH"], variables["CI_DEFAULT_BRANCH"]) == ("main", "main")
    assert variables["CI_PROJECT_PATH"] == "local/project"


def test_a_repository_without_a_commit_works(project: Project) -> None:
    project.git("init", "-q", "-b", "trunk")
    variables = project.variables(JOB)
    assert (variables["CI_COMMIT_SHA"], variables["CI_COMMIT_BRANCH"]) == (NO_SHA, "trunk")
    assert project.names("job: {script: [x], rules: [{changes: [x], exists: [.gitlab-ci.yml]}]}\n") == ["job"]


def test_the_commit_the_branch_and_the_remote_are_known(project: Project) -> None:
    project.write("a", "")
    project.commit("first")
    project.write("b", "")
    project.commit("second title\n\nand\nmore")
    project.git("checkout", "-q", "-b", "Feature/One_two")
    project.git("remote", "add", "origin", "git@gitlab.example.com:Group/sub/My.Project.git")
    variables = project.variables(JOB)
    sha = project.git("rev-parse", "HEAD")
    expected = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_PIPELINE_SOURCE": "push",
        "CI_COMMIT_SHA": sha,
        "CI_COMMIT_SHORT_SHA": sha[:8],
        "CI_COMMIT_BEFORE_SHA": project.git("rev-parse", "HEAD~1"),
        "CI_COMMIT_BRANCH": "Feature/One_two",
        "CI_COMMIT_REF_NAME": "Feature/One_two",
        "CI_COMMIT_REF_SLUG": "feature-one-two",
        "CI_COMMIT_TITLE": "second title",
        "CI_COMMIT_MESSAGE": "second title\n\nand\nmore",
        "CI_COMMIT_DESCRIPTION": "and\nmore",
        "CI_COMMIT_AUTHOR": "Ann <ann@example.com>",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_PATH": "Group/sub/My.Project",
        "CI_PROJECT_PATH_SLUG": "group-sub-my-project",
        "CI_PROJECT_NAME": "My.Project",
        "CI_PROJECT_NAMESPACE": "Group/sub",
        "CI_PROJECT_ROOT_NAMESPACE": "Group",
        "CI_PROJECT_URL": "https://gitlab.example.com/Group/sub/My.Project",
        "CI_PROJECT_DIR": "/builds/Group/sub/My.Project",
        "CI_BUILDS_DIR": "/builds",
        "CI_SERVER_HOST": "gitlab.example.com",
        "CI_SERVER_URL": "https://gitlab.example.com",
        "CI_REGISTRY_IMAGE": "registry.gitlab.example.com/group/sub/my.project",
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_JOB_NAME": "job",
        "CI_JOB_STAGE": "test",
        "CI_NODE_TOTAL": "1",
    }
    assert {key: variables.get(key) for key in expected} == expected
    assert "CI_COMMIT_TAG" not in variables
    assert "CI_NODE_INDEX" not in variables


def test_a_tag_that_is_checked_out_makes_a_pipeline_of_the_tag(project: Project) -> None:
    project.write("a", "")
    project.commit()
    project.git("tag", "v1.0")
    project.git("checkout", "-q", "v1.0")
    variables = project.variables(JOB)
    assert (variables["CI_COMMIT_TAG"], variables["CI_COMMIT_REF_NAME"]) == ("v1.0", "v1.0")
    assert "CI_COMMIT_BRANCH" not in variables


def test_the_user_s_variables_may_make_it_a_pipeline_of_a_tag_or_a_merge_request(project: Project) -> None:
    project.write("a", "")
    project.commit()
    project.git("checkout", "-q", "-b", "topic")
    of_tag = project.variables(JOB, variables={"CI_COMMIT_TAG": "v2"})
    assert (of_tag["CI_COMMIT_REF_NAME"], "CI_COMMIT_BRANCH" in of_tag) == ("v2", False)
    text = "job: {script: [x], rules: [{if: $CI_MERGE_REQUEST_IID}]}\n"
    of_request = project.variables(text, variables={"CI_PIPELINE_SOURCE": "merge_request_event"})
    assert of_request["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"] == "topic"
    assert of_request["CI_MERGE_REQUEST_TARGET_BRANCH_NAME"] == "main"
    assert "CI_COMMIT_BRANCH" not in of_request


def test_a_lone_commit_belongs_to_a_branch_that_points_at_it(project: Project) -> None:
    project.write("a", "")
    project.commit()
    project.git("checkout", "-q", "--detach")
    assert project.variables(JOB)["CI_COMMIT_BRANCH"] == "main"


def test_the_file_may_lie_below_the_top_of_the_repository(project: Project) -> None:
    project.write("top.yml", "top: {script: [x]}\n")
    project.commit()
    below = Project(project.root / "below")
    plan = below.plan("include: top.yml\njob: {script: [x], rules: [{exists: [top.yml]}]}\n")
    assert [job.name for job in plan.jobs] == ["top", "job"]
    assert "below/.gitlab-ci.yml:1: job.scrpt" in below.problems("job: {scrpt: [x]}\n")[0]


def test_changed_and_listed_files_keep_strange_names(project: Project) -> None:
    project.write("a b/ünï.txt", "")
    project.commit()
    project.write("a b/ünï.txt", "changed")
    repository = Repository(project.root)
    assert repository.files == ["a b/ünï.txt"]
    project.commit("second")
    assert Repository(project.root).changed_files(None) == {"a b/ünï.txt"}


@pytest.mark.parametrize(
    ("url", "host", "path", "scheme", "port"),
    [
        ("git@gitlab.example.com:group/project.git", "gitlab.example.com", "group/project", "https", "443"),
        ("ssh://git@host:2222/a/b/c.git", "host", "a/b/c", "https", "443"),
        ("https://user:secret@host:8443/a/b.git", "host", "a/b", "https", "8443"),
        ("http://host/a/b/", "host", "a/b", "http", "80"),
        ("host:project.git", "host", "local/project", "https", "443"),
        ("/srv/git/thing.git", "localhost", "local/thing", "https", "443"),
        ("", "localhost", "local/folder", "https", "443"),
    ],
)
def test_remotes_of_all_forms(url: str, host: str, path: str, scheme: str, port: str) -> None:
    remote = parse_remote(url, "folder")
    assert (remote.host, remote.path, remote.scheme, remote.port) == (host, path, scheme, port)
    assert "secret" not in remote.url


def test_slugs_and_tiers() -> None:
    assert slug("-Feature/ÄB_c-") == "feature--b-c"
    assert slug("x" * 100) == "x" * 63
    assert environment_slug("production") == "production"
    assert environment_slug("review/A very long name of a branch").startswith("review-a-very-lon-")
    assert len(environment_slug("review/A very long name of a branch")) == 24
    assert environment_slug("1st").startswith("env-1st-")
    assert [environment_tier(name) for name in ("prod", "staging", "qa", "review/x", "somewhere")] == [
        "production",
        "staging",
        "testing",
        "development",
        "other",
    ]
