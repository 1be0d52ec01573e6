"""What is known of a project: with and without git, a commit, a remote."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pipeline.git_repository import NO_SHA, Repository, parse_remote
from pipeline.predefined_variables import environment_slug, environment_tier
from protocol.job_variables import slug
from tests.support.project import Project

JOB = "job: {script: [x]}\n"
TAGS = ("v1", "light", "nowhere")


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
    of_branch = project.variables(JOB, variables={"CI_COMMIT_BRANCH": "Other/one"})
    assert (of_branch["CI_COMMIT_REF_NAME"], of_branch["CI_COMMIT_REF_SLUG"]) == ("Other/one", "other-one")
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


def of_branch(project: Project) -> tuple[str | None, str]:
    variables = project.variables(JOB)
    return variables.get("CI_COMMIT_BRANCH"), variables["CI_DEFAULT_BRANCH"]


def test_a_lone_commit_belongs_to_the_default_branch_if_that_contains_it_else_to_another_that_does(
    project: Project,
) -> None:
    project.commit("first")
    project.commit("second")
    project.git("checkout", "-q", "-b", "a-topic")
    project.commit("third")
    project.commit("fourth")
    project.git("checkout", "-q", "--detach", "main~1")
    assert of_branch(project) == ("main", "main")
    project.git("checkout", "-q", "--detach", "a-topic~1")
    assert of_branch(project) == ("a-topic", "main")


def test_a_lone_commit_belongs_to_a_branch_of_origin_that_contains_it(project: Project, tmp_path: Path) -> None:
    origin = Project(tmp_path / "origin")
    for number in range(3):
        origin.commit(str(number))
        origin.git("checkout", "-q", "-B", "topic")
    project.git("clone", "-q", "--no-checkout", origin.root.as_uri(), ".")
    project.git("checkout", "-q", "--detach", "origin/topic~1")
    project.git("branch", "-q", "-D", "topic")
    project.git("remote", "set-head", "origin", "-d")
    assert of_branch(project) == ("topic", "main")


@pytest.mark.parametrize("known", [True, False], ids=["default branch known", "not known"])
def test_a_commit_of_no_known_branch_is_not_on_the_default_branch(
    project: Project, tmp_path: Path, known: bool
) -> None:
    origin = Project(tmp_path / "origin")
    origin.commit("first")
    origin.git("checkout", "-q", "-b", "trunk")
    origin.commit("second")
    sha = origin.git("rev-parse", "main")
    project.git("init", "-q", "-b", "unborn")
    project.git("remote", "add", "origin", origin.root.as_uri())
    if known:
        project.git("fetch", "-q", "--depth=1", "origin", "trunk:refs/remotes/origin/trunk")
        project.git("remote", "set-head", "origin", "trunk")
    project.git("fetch", "-q", "--depth=1", "origin", sha)
    project.git("checkout", "-q", "--detach", "FETCH_HEAD")
    assert of_branch(project) == ("HEAD", "trunk" if known else "main")
    text = "job: {script: [x], rules: [{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}]}\nother: {script: [x]}\n"
    assert project.names(text) == ["other"]


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


LONG = "x" * 100


@pytest.mark.parametrize(
    ("message", "title", "description"),
    [
        ("title", "title", ""),
        ("title\n\nbody\nmore\n", "title", "body\nmore"),
        (f"{LONG[1:]}\n\nbody", LONG[1:], "body"),
        (f"{LONG}\n\nbody", LONG, f"{LONG}\n\nbody"),
        (LONG, LONG, LONG),
        ("é" * 99 + "\n\nbody", "é" * 99, "body"),
        ("", "No commit message", "No commit message"),
    ],
    ids=["title", "body", "99", "100", "100 alone", "99 of two bytes", "none"],
)
def test_a_commit_s_description_is_its_message_without_a_title_that_is_short(
    project: Project, message: str, title: str, description: str
) -> None:
    project.git("init", "-q", "-b", "main")
    project.git("commit", "-q", "--allow-empty", "--allow-empty-message", "--cleanup=verbatim", "-m", message)
    variables = project.variables(JOB)
    assert (variables["CI_COMMIT_TITLE"], variables["CI_COMMIT_DESCRIPTION"]) == (title, description)
    assert variables["CI_COMMIT_MESSAGE"] == message.rstrip("\n")
    assert variables["CI_COMMIT_MESSAGE_IS_TRUNCATED"] == "false"


@pytest.mark.parametrize("unit", ["a line of a squashed commit\n", "€"])
@pytest.mark.parametrize("start", ["short\n\n", ""])
def test_what_is_written_to_a_commit_or_a_tag_is_cut_to_100_kb_between_characters(
    project: Project, unit: str, start: str
) -> None:
    project.git("init", "-q", "-b", "main")
    message = start + unit * (200_000 // len(unit.encode()))
    file = project.root.parent / "message"
    file.write_text(message)
    project.git("commit", "-q", "--allow-empty", "-F", str(file))
    project.git("tag", "-a", "v1", "-F", str(file))
    variables = project.variables(JOB, variables={"CI_COMMIT_TAG": "v1"})
    for name in ("CI_COMMIT_MESSAGE", "CI_COMMIT_DESCRIPTION", "CI_COMMIT_TAG_MESSAGE"):
        assert 99_990 < len(variables[name].encode()) <= 100_000
        assert variables[name] in message
    assert len(variables["CI_COMMIT_TITLE"].encode()) <= 100_000
    assert variables["CI_COMMIT_MESSAGE_IS_TRUNCATED"] == "true"


def test_a_tag_s_message_is_that_of_an_annotated_tag(project: Project) -> None:
    project.commit()
    project.git("tag", "light")
    project.git("tag", "-a", "v1", "-m", "First\n\nwith notes")
    messages = [project.variables(JOB, variables={"CI_COMMIT_TAG": tag})["CI_COMMIT_TAG_MESSAGE"] for tag in TAGS]
    assert messages == ["First\n\nwith notes", "", ""]


def test_a_commit_is_read_whatever_git_is_configured_to_show(project: Project) -> None:
    project.git("init", "-q", "-b", "main")
    project.git("config", "log.showSignature", "true")
    project.git("config", "i18n.logOutputEncoding", "latin1")
    project.commit("größer")
    assert project.variables(JOB)["CI_COMMIT_MESSAGE"] == "größer"


def test_another_repository_that_git_s_hooks_name_is_not_asked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Project(project.root.parent / "other")
    other.commit("of the other")
    project.write("a", "")
    project.commit("of this one")
    monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.root / ".git" / "index"))
    text = "job: {script: [x], rules: [{exists: [a]}]}\n"
    assert project.variables(text)["CI_COMMIT_MESSAGE"] == "of this one"


def test_a_merge_request_s_variables_are_those_of_the_branch(project: Project) -> None:
    project.commit("base")
    base = project.git("rev-parse", "HEAD")
    project.git("checkout", "-q", "-b", "topic")
    project.commit("Draft: feature\n\nwhy")
    variables = project.variables(
        "job: {script: [x], rules: [{if: $CI}]}\n", variables={"CI_PIPELINE_SOURCE": "merge_request_event"}
    )
    assert variables["CI_MERGE_REQUEST_TITLE"] == "Draft: feature"
    assert variables["CI_MERGE_REQUEST_DESCRIPTION"] == "why"
    assert variables["CI_MERGE_REQUEST_DRAFT"] == "true"
    assert variables["CI_MERGE_REQUEST_DIFF_BASE_SHA"] == base
    assert variables["CI_MERGE_REQUEST_PROJECT_URL"] == variables["CI_PROJECT_URL"]
    assert variables["CI_COMMIT_BEFORE_SHA"] == NO_SHA


def test_only_a_trigger_makes_a_pipeline_a_triggered_one(project: Project) -> None:
    assert "CI_PIPELINE_TRIGGERED" not in project.variables(JOB)
    assert project.variables(JOB, variables={"CI_PIPELINE_SOURCE": "trigger"})["CI_PIPELINE_TRIGGERED"] == "true"


NAMES = [
    "my projé (2)",
    "a b",
    "a-b-",
    "--help",
    ".hidden",
    "...",
    "_",
    "проект",
    "项目",
    "thing.git",
    "a\tb\nc",
    "$HOME",
    "-",
    "x" * 250 + "é",
]
"""Of folders, none of which may be in a path."""
PATH_VARIABLES = ("CI_PROJECT_DIR", "CI_PROJECT_NAME", "CI_PROJECT_NAMESPACE", "CI_PROJECT_PATH", "CI_PROJECT_URL")
SAFE = re.compile(r"[A-Za-z0-9_/.:-]+")
IMAGE = re.compile(r"[a-z0-9.-]+(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)+")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_folder_of_any_name_makes_a_path_that_needs_no_quotes(tmp_path: Path, name: str) -> None:
    project = Project(tmp_path / name)
    variables = project.variables(JOB)
    assert [variables[key] for key in PATH_VARIABLES if not SAFE.fullmatch(variables[key])] == []
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", variables["CI_PROJECT_NAME"])
    assert IMAGE.fullmatch(variables["CI_REGISTRY_IMAGE"])
    assert variables["CI_PROJECT_DIR"] == f"/builds/local/{variables['CI_PROJECT_NAME']}"
    assert project.plan().project == variables["CI_PROJECT_PATH"]
    assert variables["CI_PROJECT_TITLE"] == " ".join(name.split())


def test_a_folder_s_name_that_is_no_utf_8_is_no_problem(tmp_path: Path) -> None:
    project = Project(tmp_path / os.fsdecode(b"raw\xff"))
    variables = project.variables(JOB)
    assert SAFE.fullmatch(variables["CI_PROJECT_PATH"])
    assert variables["CI_PROJECT_TITLE"] == "raw\ufffd"


def test_folders_of_different_names_stay_different_projects(tmp_path: Path) -> None:
    names = [*NAMES, "a-b", "a(b", "my-proje-2", "project", "hidden", "help"]
    paths = [Project(tmp_path / name).plan(JOB).project for name in names]
    assert len(set(paths)) == len(names)


def test_a_name_that_a_path_may_have_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("app", "My_App", "a.b-c", "2nd"):
        assert Project(tmp_path / name).plan(JOB).project == f"local/{name}"


@pytest.mark.parametrize(
    "url",
    [
        "https://dev.azure.example.com/org/My%20Project/_git/my%20repo",
        "git@example.com:~user/some thing.git",
        "ssh://git@host/../../etc/..",
        "https://host/a%2F..%2Fb/$(id)",
        "../..",
        "C:\\work\\my repo",
        "file:///srv/git/größe.git",
    ],
)
def test_a_remote_of_any_address_makes_a_path_that_needs_no_quotes(url: str) -> None:
    path = parse_remote(url, "folder").path
    assert SAFE.fullmatch(path)
    assert not {"", ".", ".."} & set(path.split("/"))


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
    assert environment_slug("/1st").startswith("env-1st-")
    tiers = {
        "production": ["prod", "PRD-eu", "live"],
        "staging": ["staging", "stg", "modl", "pre-live"],
        "testing": ["qa", "acpt", "integration"],
        "development": ["review/x", "dev"],
        "other": ["somewhere"],
    }
    assert {tier: names for tier, names in tiers.items() if {*map(environment_tier, names)} != {tier}} == {}


def test_a_file_may_choose_by_the_version_of_the_server(project: Project) -> None:
    project.git("init", "-q")
    project.git("remote", "add", "origin", "https://git.example.com/Group/sub/name.git")
    text = "job: {script: [x], rules: [{if: '$CI_SERVER_VERSION =~ /^1[78]\\./'}]}"
    values = project.variables(text)
    parts = [values[f"CI_SERVER_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(parts) == values["CI_SERVER_VERSION"]
    assert values["CI_PAGES_HOSTNAME"] == "group.pages.git.example.com"
    assert values["CI_SERVER_SHELL_SSH_HOST"] == "git.example.com"
    assert values["CI_PROJECT_NAMESPACE_ID"].isdigit()
    assert values["CI_PROJECT_NAMESPACE_ID"] != values["CI_PROJECT_ID"]
