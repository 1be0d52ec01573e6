"""How much history a snapshot has, which refs, and what is sent on top of what the coordinator has."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from protocol.plan import TriggerInclude, TriggerPlan
from protocol.workspace import Changes, GitWorkspace
from snapshots import packs
from snapshots.depths import Wanted, wanted
from snapshots.store import cache_home
from tests.support.project import Project
from tests.support.received_workspaces import Receiver, git, make, plan_of

SMALL = 4096
"""Bytes for a commit, a manifest and the like, however the pack is made."""


@pytest.fixture
def long(tmp_path: Path) -> Project:
    """A repository of 30 commits with tags: `light5`, ..., `light25` and, annotated, `v10` and `v29`."""
    made = Project(tmp_path / "long")
    for number in range(30):
        made.write("number", f"{number}\n")
        made.commit(f"commit {number}")
        if number % 10 == 5:
            made.git("tag", f"light{number}")
        if number in (10, 29):
            made.git("tag", "-a", "-m", "tag", f"v{number}")
    return made


def test_history_is_twenty_commits_deep_unless_a_job_says_otherwise(long: Project, receiver: Receiver) -> None:
    received = receiver.receive(make(long.root))
    assert received.commits() == long.git("rev-list", "-20", "HEAD").split()
    assert received.workspace.shallow == long.git("rev-list", "--skip=19", "-1", "HEAD").split()
    assert received.workspace.depth == 20


@pytest.mark.parametrize(("depth", "count"), [("1", 1), ("25", 25), ("30", 30), ("0", 30)])
def test_history_is_as_deep_as_the_job_says(long: Project, receiver: Receiver, depth: str, count: int) -> None:
    received = receiver.receive(make(long.root, plan_of({"GIT_DEPTH": depth})))
    assert len(received.commits()) == count
    assert (received.workspace.shallow == []) == (count == 30)


def test_the_same_commits_come_as_with_git_clone_of_that_depth(tmp_path: Path, receiver: Receiver) -> None:
    project = Project(tmp_path / "merges")
    project.write("a", "0")
    project.commit("root")
    for number in range(6):
        project.git("checkout", "-q", "-b", f"side{number}", "main~1" if number else "main")
        project.write(f"side{number}", "x")
        project.commit(f"side {number}")
        project.git("checkout", "-q", "main")
        project.write(f"main{number}", "x")
        project.commit(f"main {number}")
        project.git("merge", "-q", "--no-edit", f"side{number}")
    for depth in range(1, 9):
        target = tmp_path / f"clone{depth}"
        git(None, "clone", "-q", f"--depth={depth}", "--single-branch", project.root.as_uri(), str(target))
        received = receiver.receive(make(project.root, plan_of({"GIT_DEPTH": str(depth)}), receiver.workspaces))
        assert set(received.commits()) == set(git(target, "rev-list", "HEAD").decode().split())
        shallow = target / ".git/shallow"
        assert received.workspace.shallow == (sorted(shallow.read_text().split()) if shallow.exists() else [])


def test_tags_come_that_point_into_the_history(long: Project, receiver: Receiver) -> None:
    project = receiver.receive(make(long.root)).project
    assert project.refs == {
        b"refs/tags/light15": long.git("rev-parse", "light15"),
        b"refs/tags/light25": long.git("rev-parse", "light25"),
        b"refs/tags/v10": long.git("rev-parse", "v10"),
        b"refs/tags/v29": long.git("rev-parse", "v29"),
    }


def test_all_tags_come_with_the_whole_history_also_those_of_other_branches(long: Project, receiver: Receiver) -> None:
    long.git("checkout", "-q", "-b", "other", "HEAD~5")
    long.write("other", "x")
    long.commit("other")
    long.git("tag", "elsewhere")
    long.git("checkout", "-q", "main")
    received = receiver.receive(make(long.root, plan_of(GIT_DEPTH="0")))
    assert len(received.project.refs) == 6
    assert received.git("cat-file", "-t", received.project.refs[b"refs/tags/elsewhere"]) == b"commit\n"
    assert received.git("cat-file", "-t", received.project.refs[b"refs/tags/v10"]) == b"tag\n"


def test_git_describe_works_on_what_arrives(long: Project, receiver: Receiver) -> None:
    received = receiver.receive(make(long.root))
    for name, id in received.project.refs.items():
        received.git("update-ref", name.decode(), id)
    head = str(received.project.head)
    assert received.git("describe", "--tags", head).decode().strip() == long.git("describe", "--tags")


def test_the_branch_of_the_pipeline_is_at_the_head(repository: Project, receiver: Receiver) -> None:
    received = receiver.receive(make(repository.root, plan_of(CI_COMMIT_BRANCH="topic/x")))
    assert received.project.refs == {b"refs/remotes/origin/topic/x": received.project.head}


def test_a_merge_request_has_its_target_branch_and_the_history_of_that(repository: Project, receiver: Receiver) -> None:
    repository.git("checkout", "-q", "-b", "topic", "HEAD~1")
    repository.write("topic", "x")
    repository.commit("topic")
    names = {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    received = receiver.receive(make(repository.root, plan_of(**names)))
    main = repository.git("rev-parse", "main")
    assert received.project.refs == {
        b"refs/remotes/origin/main": main,
        b"refs/remotes/origin/topic": received.project.head,
    }
    assert received.git("merge-base", main, str(received.project.head)).decode().strip() == repository.git(
        "merge-base", "main", "topic"
    )
    repository.git("update-ref", "refs/remotes/origin/main", "HEAD~1")
    refs = receiver.receive(make(repository.root, plan_of(**names))).project.refs
    assert refs[b"refs/remotes/origin/main"] == repository.git("rev-parse", "HEAD~1")


@pytest.mark.parametrize(("tag", "kind"), [("v", "tag"), ("light", "commit"), ("nowhere", "commit")])
def test_the_pipeline_s_own_tag_is_there(repository: Project, receiver: Receiver, tag: str, kind: str) -> None:
    repository.git("tag", "-a", "-m", "x", "v")
    repository.git("tag", "light")
    received = receiver.receive(make(repository.root, plan_of(CI_COMMIT_TAG=tag)))
    id = received.project.refs[f"refs/tags/{tag}".encode()]
    assert received.git("cat-file", "-t", id).decode().strip() == kind
    assert received.git("rev-parse", f"{id}^{{commit}}").decode().strip() == received.project.head


@pytest.mark.parametrize("name", ["a..b", "HEAD", "x.lock", "-x", "a b", "a\x01", "/a", "a/", "a@{1}", "a/.b", ""])
def test_a_name_that_git_does_not_take_is_no_ref(repository: Project, receiver: Receiver, name: str) -> None:
    received = receiver.receive(make(repository.root, plan_of(CI_COMMIT_BRANCH=name, CI_COMMIT_TAG=name)))
    assert received.project.refs == {}


def test_no_other_branch_stash_or_note_comes(repository: Project, receiver: Receiver) -> None:
    secrets = []
    for command in (("stash",), ("notes", "add", "-m", "secret"), ("branch", "other", "HEAD~1")):
        repository.write("a", "secret " + command[0])
        repository.git(*command)
    repository.git("checkout", "-q", "-f", "--orphan", "unrelated")
    repository.write("a", "secret of a branch")
    repository.commit("unrelated")
    repository.git("checkout", "-q", "-f", "main")
    secrets = [
        repository.git("rev-parse", name) for name in ("stash", "refs/notes/commits", "unrelated", "unrelated:a")
    ]
    received = receiver.receive(make(repository.root, plan_of(GIT_DEPTH="0")))
    objects = received.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").decode().split()
    assert not set(secrets) & set(objects)
    assert received.project.refs == {}


def test_a_changed_file_sends_what_git_would_send(tmp_path: Path, receiver: Receiver) -> None:
    project = Project(tmp_path / "large")
    for number in range(200):
        (project.root / f"f{number}").write_bytes(os.urandom(2000))
    (project.root / "text").write_bytes(os.urandom(200_000))
    project.commit()
    receiver.receive(make(project.root))
    assert receiver.sent[0] > 600_000
    with (project.root / "text").open("ab") as file:
        file.write(b"one more line\n")
    receiver.receive(make(project.root, bases=receiver.workspaces))
    assert len(receiver.sent) == 1
    assert sum(receiver.sent) < 1000
    project.commit("the change")
    received = receiver.receive(make(project.root, bases=receiver.workspaces))
    assert sum(receiver.sent) < 2000
    assert received.contents()[b"text"] == (project.root / "text").read_bytes()


def test_small_files_of_other_runs_are_not_carried_on(repository: Project, receiver: Receiver) -> None:
    path = repository.write("secret", "of an earlier run\n")
    first = receiver.receive(make(repository.root))
    path.unlink()
    second = receiver.receive(make(repository.root, bases=receiver.workspaces))
    id = first.git("rev-parse", f"{first.workspace.snapshot}:0/secret").decode().strip()
    objects = second.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").decode().split()
    assert id not in objects
    assert second.workspace.packs[:1] == first.workspace.packs[:1]


def test_large_new_files_are_sent_once(repository: Project, receiver: Receiver) -> None:
    (repository.root / "large").write_bytes(os.urandom(9 << 20))
    receiver.receive(make(repository.root))
    repository.write("small", "x")
    received = receiver.receive(make(repository.root, bases=receiver.workspaces))
    assert sum(receiver.sent) < SMALL
    repository.write("small", "y")
    repository.commit("with both")
    received = receiver.receive(make(repository.root, bases=receiver.workspaces))
    assert sum(receiver.sent) < 2 * SMALL
    assert set(received.contents()) == {b"a", b"dir/b", b"run.sh", b"large", b"small"}


def test_a_second_user_s_snapshot_builds_on_the_first_one_s(
    long: Project, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (long.root / "large").write_bytes(os.urandom(100_000))
    long.commit("large")
    other = Project(tmp_path / "other")
    git(None, "clone", "-q", long.root.as_uri(), str(other.root))
    receiver.receive(make(long.root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other cache"))
    other.write("mine", "x")
    other.commit("mine")
    received = receiver.receive(make(other.root, bases=receiver.workspaces))
    assert sum(receiver.sent) < SMALL
    assert received.commits() == other.git("rev-list", "-20", "HEAD").split()
    assert len(received.contents()) == 3


def test_what_the_first_user_has_and_the_second_has_not_is_no_base(
    long: Project, receiver: Receiver, tmp_path: Path
) -> None:
    other = Project(tmp_path / "other")
    git(None, "clone", "-q", long.root.as_uri(), str(other.root))
    long.git("checkout", "-q", "--orphan", "unrelated")
    long.commit("unrelated")
    receiver.receive(make(long.root))
    received = receiver.receive(make(other.root, bases=receiver.workspaces))
    assert len(received.commits()) == 20
    assert len(received.workspace.packs) == 2


@pytest.mark.parametrize("depths", [("20", "25"), ("20", "0"), ("0", "3"), ("1", "2"), ("25", "20")])
def test_another_depth_than_that_of_the_base_is_complete(
    long: Project, receiver: Receiver, depths: tuple[str, str]
) -> None:
    first, second = (plan_of({"GIT_DEPTH": depth}) for depth in depths)
    receiver.receive(make(long.root, first))
    long.write("number", "new\n")
    received = receiver.receive(make(long.root, second, receiver.workspaces))
    assert len(received.commits()) == (int(depths[1]) or 30)


def test_every_step_of_a_moving_branch_is_complete(long: Project, receiver: Receiver) -> None:
    for commit in ("HEAD~25", "HEAD~3", "HEAD~10", "HEAD~1", "main~29", "main"):
        long.git("checkout", "-q", commit if commit.startswith("main") else commit.replace("HEAD", "main"))
        received = receiver.receive(make(long.root, plan_of({"GIT_DEPTH": "5"}), receiver.workspaces))
        assert received.commits() == long.git("rev-list", "-5", "HEAD").split()


def test_the_whole_history_grows_by_new_commits_only(long: Project, receiver: Receiver) -> None:
    plan = plan_of(GIT_DEPTH="0")
    receiver.receive(make(long.root, plan))
    (long.root / "large").write_bytes(os.urandom(100_000))
    long.commit("large")
    receiver.receive(make(long.root, plan, receiver.workspaces))
    long.write("number", "x")
    long.commit("one more")
    long.git("tag", "-a", "-m", "x", "v31")
    received = receiver.receive(make(long.root, plan, receiver.workspaces))
    assert sum(receiver.sent) < SMALL
    assert len(received.commits()) == 32
    assert b"refs/tags/v31" in received.project.refs


def test_a_new_tag_alone_is_sent(long: Project, receiver: Receiver) -> None:
    receiver.receive(make(long.root))
    long.git("tag", "-a", "-m", "x", "new", "HEAD~2")
    received = receiver.receive(make(long.root, bases=receiver.workspaces))
    assert received.git("cat-file", "-t", received.project.refs[b"refs/tags/new"]) == b"tag\n"


def test_after_many_packs_a_workspace_builds_on_the_first_again(
    long: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MOST_BUILT_ON", 3)
    counts = []
    for number in range(8):
        long.write("number", f"more {number}\n")
        long.commit(f"more {number}")
        received = receiver.receive(make(long.root, bases=receiver.workspaces[:1]))
        assert received.commits() == long.git("rev-list", "-20", "HEAD").split()
        counts.append(len(received.workspace.packs))
        assert received.workspace.packs[0] == receiver.workspaces[-1].packs[0]
    assert counts == [2, 3, 4, 5, 3, 4, 5, 3]


def test_packs_that_outgrow_the_first_make_it_start_again(
    repository: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "LARGE_FILES", 10_000)
    counts = []
    for number in range(8):
        (repository.root / "a").write_bytes(os.urandom(9_000))
        repository.commit(str(number))
        counts.append(len(receiver.receive(make(repository.root, bases=receiver.workspaces[:1])).workspace.packs))
    assert counts == [2, 3, 4, 5, 2, 3, 4, 5]


def test_more_tags_than_a_workspace_may_have_are_left_out_but_not_the_pipeline_s_own(
    long: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snapshots.history.MOST_COMMITS", 3)
    received = receiver.receive(make(long.root, plan_of(GIT_DEPTH="0", CI_COMMIT_TAG="v29")))
    assert len(received.workspace.commits) == 3
    assert b"refs/tags/v29" in received.project.refs
    assert len(received.project.refs) < 5


@pytest.mark.parametrize(("below", "most"), [(1 << 20, 150_000), (1, 250_000)], ids=["few bytes", "many bytes"])
def test_deltas_are_searched_unless_there_is_much_to_search(
    repository: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, below: int, most: int
) -> None:
    monkeypatch.setattr(packs, "DELTAS_BELOW", below)
    data = os.urandom(100_000)
    (repository.root / "data1").write_bytes(data)
    (repository.root / "data2").write_bytes(data + b"x")
    receiver.receive(make(repository.root))
    assert most - 100_000 < receiver.sent[-1] < most


def test_a_workspace_of_another_object_format_is_no_base(repository: Project, receiver: Receiver) -> None:
    first = receiver.receive(make(repository.root)).workspace
    other = GitWorkspace(snapshot="0" * 64, packs=first.packs, commits=["1" * 64], history=1)
    assert len(make(repository.root, bases=[other]).files) == 2


def test_a_snapshot_that_was_never_submitted_is_the_same_pack_again(repository: Project) -> None:
    first = make(repository.root)
    paths = {path: path.stat().st_ino for path in first.files.values()}
    again = make(repository.root)
    assert {path: path.stat().st_ino for path in again.files.values()} == paths


def test_only_the_newest_snapshots_are_kept(repository: Project, receiver: Receiver) -> None:
    for number in range(25):
        repository.write("a", f"{number}\n")
        make(repository.root)
    (folder,) = cache_home().glob("*/refs/snapshots")
    assert len(list(folder.iterdir())) == 20


def test_the_depth_is_the_greatest_of_all_jobs() -> None:
    assert wanted(plan_of({"GIT_DEPTH": "3"}, {"GIT_DEPTH": "7"})).depth == 7
    assert wanted(plan_of({"GIT_DEPTH": "3"}, {})).depth == 20
    assert wanted(plan_of({"GIT_DEPTH": "3"}, {"GIT_DEPTH": "0"})).depth == 0
    assert wanted(plan_of({"GIT_DEPTH": "3"}, {"GIT_STRATEGY": "none"})).depth == 3
    assert wanted(plan_of({"GIT_DEPTH": "$D", "D": "4"})).depth == 4
    assert wanted(plan_of({"GIT_DEPTH": "$UNKNOWN"})).depth == 20
    assert wanted(plan_of(GIT_DEPTH="2")).depth == 2
    assert wanted(plan_of({"GIT_DEPTH": "5"}, GIT_DEPTH="2")).depth == 5


def test_submodules_are_wanted_as_any_job_says() -> None:
    deep = {"GIT_SUBMODULE_STRATEGY": "recursive", "GIT_SUBMODULE_DEPTH": "2"}
    normal = {"GIT_SUBMODULE_STRATEGY": "normal", "GIT_DEPTH": "9"}
    assert wanted(plan_of({}, deep, normal)) == Wanted(depth=20, submodules="recursive", submodule_depth=9)
    assert wanted(plan_of({"GIT_SUBMODULE_DEPTH": "50"})) == Wanted(depth=20, submodules="none", submodule_depth=1)


def test_changes_are_in_the_manifest_for_child_pipelines_only(long: Project, receiver: Receiver) -> None:
    long.git("update-ref", "refs/remotes/origin/main", "HEAD~2")
    long.write("new", "")
    push, schedule = {"CI_COMMIT_BRANCH": "main"}, {"CI_COMMIT_BRANCH": "main", "CI_PIPELINE_SOURCE": "schedule"}
    target = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "light25"}

    def changes(variables: dict[str, str], *, trigger: bool = True) -> Changes | None:
        plan = plan_of(**variables)
        if trigger:
            starting = TriggerPlan(include=[TriggerInclude(local="child.yml")])
            plan = msgspec.structs.replace(plan, jobs=[msgspec.structs.replace(plan.jobs[0], trigger=starting)])
        return receiver.receive(make(long.root, plan)).manifest.changes

    assert changes(push, trigger=False) is None
    assert changes(push) == Changes(paths=["new", "number"])
    assert changes(target) == Changes(compared_to="light25", paths=["new", "number"])
    assert changes(target | {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "nowhere"}) is None
    assert changes(schedule) is None
