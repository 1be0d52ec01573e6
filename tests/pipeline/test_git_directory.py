"""What is read of a git directory without git, against what git says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.git_directory import GitDirectory, Unreadable
from pipeline.git_repository import Repository
from tests.support.project import Project

BRANCHES = ["refs/heads/main", "refs/heads/master", "refs/remotes/origin/main", "refs/remotes/origin/master"]


def check(project: Project, top: Path) -> None:
    """Compares all answers with git's."""
    found = GitDirectory.of(top)
    where = ("-C", str(top))
    branch = (found.branch() or b"").decode()
    assert project.git(*where, "rev-parse", "--symbolic-full-name", "HEAD") == (branch or "HEAD")
    listed = project.git(*where, "for-each-ref", "--format=%(refname)", *BRANCHES)
    assert found.existing(BRANCHES) == set(listed.split())


@pytest.mark.parametrize("packed", [False, True])
def test_refs_are_found_loose_and_packed_in_all_work_trees(project: Project, packed: bool, tmp_path: Path) -> None:
    project.commit("first")
    project.git("update-ref", "refs/remotes/origin/master", "HEAD")
    project.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
    if packed:
        project.git("pack-refs", "--all")
    project.git("worktree", "add", "-q", "-b", "feature/x", str(tmp_path / "tree"))
    for top in (project.root, tmp_path / "tree"):
        check(project, top)
        assert GitDirectory.of(top).symbolic("refs/remotes/origin/HEAD") == b"refs/remotes/origin/master"
    assert GitDirectory.of(tmp_path / "tree").branch() == b"refs/heads/feature/x"
    project.git("checkout", "-q", "--detach")
    check(project, project.root)
    assert GitDirectory.of(project.root).branch() is None
    assert Repository(tmp_path / "tree").branch == "feature/x"
    assert Repository(tmp_path / "tree").default_branch == "master"


def test_the_branch_of_the_first_commit_to_come_is_known(project: Project) -> None:
    project.git("init", "-q", "-b", "trunk")
    assert GitDirectory.of(project.root).branch() == b"refs/heads/trunk"
    assert GitDirectory.of(project.root).existing(BRANCHES) == set()


def test_what_only_git_reads_is_left_to_git(project: Project) -> None:
    project.commit("first")
    head = project.root / ".git" / "HEAD"
    head.unlink()
    head.symlink_to("refs/heads/main")  # as very old versions of git had it
    with pytest.raises(Unreadable, match="no regular file"):
        GitDirectory.of(project.root).branch()
    assert Repository(project.root).branch == "main"
    (project.root / ".git" / "reftable").mkdir()
    with pytest.raises(Unreadable, match="another form"):
        GitDirectory.of(project.root).existing(BRANCHES)


@pytest.mark.parametrize("damage", ["", "ref", "0" * 39 + "x"])
def test_a_damaged_head_is_left_to_git(project: Project, damage: str) -> None:
    project.commit("first")
    (project.root / ".git" / "HEAD").write_text(damage)
    with pytest.raises(Unreadable, match="damaged"):
        GitDirectory.of(project.root).branch()


def test_an_empty_git_directory_within_a_repository_is_passed_over_as_git_does(project: Project) -> None:
    project.commit("first")
    inner = project.root / "inner"
    (inner / ".git").mkdir(parents=True)
    with pytest.raises(Unreadable):
        GitDirectory.of(inner).branch()
    assert Repository(inner).branch == "main"
    assert os.listdir(inner / ".git") == []
