"""Wherever a run is started: worktrees, clones of all kinds, no commit, a detached HEAD, submodules."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cli.submit.workspace.repositories import without_password
from tests.support.project import Project
from tests.support.received_workspaces import Receiver, git, make, plan_of

FILES = {b"a", b"dir/b", b"run.sh"}


def clone(source: Project, *options: str) -> Project:
    """A clone of a repository beside it."""
    target = source.root.parent / "clone"
    git(None, "clone", "-q", *options, source.root.as_uri(), str(target))
    return Project(target)


def test_a_worktree(repository: Project, receiver: Receiver) -> None:
    tree = repository.root.parent / "tree"
    repository.git("worktree", "add", "-q", "-b", "topic", str(tree), "HEAD~1")
    (tree / "new").write_text("x")
    received = receiver.receive(make(tree))
    assert set(received.contents()) == FILES | {b"new"}
    assert (received.project.branch, received.contents()[b"a"]) == ("topic", b"one\ntwo\n")
    assert len(received.commits()) == 2


def test_a_shallow_clone(repository: Project, receiver: Receiver) -> None:
    shallow = clone(repository, "--depth=2")
    received = receiver.receive(make(shallow.root, plan_of({"GIT_DEPTH": "0"})))
    assert len(received.commits()) == 2
    assert received.workspace.shallow == [repository.git("rev-parse", "HEAD~1")]
    assert set(received.contents()) == FILES


def test_a_detached_head(repository: Project, receiver: Receiver) -> None:
    repository.git("checkout", "-q", "--detach", "HEAD~1")
    received = receiver.receive(make(repository.root))
    assert (received.project.branch, received.project.head) == ("", repository.git("rev-parse", "HEAD"))
    assert len(received.commits()) == 2


@pytest.mark.parametrize("staged", [False, True], ids=["nothing staged", "staged"])
def test_a_repository_without_a_commit(tmp_path: Path, receiver: Receiver, staged: bool) -> None:
    project = Project(tmp_path / "project")
    project.git("init", "-q", "-b", "trunk")
    project.write("a", "x")
    if staged:
        project.git("add", "a")
    received = receiver.receive(make(project.root))
    assert (received.project.head, received.project.branch, received.project.refs) == (None, "trunk", {})
    assert received.contents() == {b"a": b"x"}
    assert list(received.index()) == ([b"a"] if staged else [])
    assert received.workspace.commits == []


def test_a_repository_without_files(tmp_path: Path, receiver: Receiver) -> None:
    project = Project(tmp_path / "project")
    project.git("init", "-q", "-b", "trunk")
    assert receiver.receive(make(project.root)).contents() == {}


def test_a_git_file(repository: Project, receiver: Receiver) -> None:
    repository.git("init", "-q", "--separate-git-dir", str(repository.root.parent / "elsewhere"))
    assert (repository.root / ".git").is_file()
    assert set(receiver.receive(make(repository.root)).contents()) == FILES


def test_a_link_to_the_git_directory(repository: Project, receiver: Receiver) -> None:
    dot_git = repository.root / ".git"
    dot_git.rename(repository.root.parent / "elsewhere")
    dot_git.symlink_to(repository.root.parent / "elsewhere")
    assert set(receiver.receive(make(repository.root)).contents()) == FILES


def test_alternates(repository: Project, receiver: Receiver) -> None:
    git(repository.root.parent, "clone", "-q", "--shared", str(repository.root), "clone")
    borrowing = Project(repository.root.parent / "clone")
    assert (borrowing.root / ".git/objects/info/alternates").exists()
    received = receiver.receive(make(borrowing.root))
    assert len(received.commits()) == 3
    assert set(received.contents()) == FILES


def test_sha256_objects(tmp_path: Path, receiver: Receiver) -> None:
    project = Project(tmp_path / "project")
    project.git("init", "-q", "-b", "main", "--object-format=sha256")
    project.write("a", "x")
    project.commit()
    project.write("new", "y")
    received = receiver.receive(make(project.root))
    assert (received.workspace.object_format, len(received.workspace.snapshot)) == ("sha256", 64)
    assert received.contents() == {b"a": b"x", b"new": b"y"}
    project.write("a", "changed")
    assert receiver.receive(make(project.root, bases=receiver.workspaces)).contents()[b"a"] == b"changed"


@pytest.mark.parametrize("filter", ["blob:none", "tree:0"])
def test_a_partial_clone_sends_what_it_has_and_fetches_nothing(
    repository: Project, receiver: Receiver, filter: str
) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    partial = clone(repository, f"--filter={filter}")
    repository.root.rename(repository.root.parent / "unreachable")
    partial.write("new", "x")
    made = make(partial.root)
    received = receiver.receive(made, partial=True)
    assert set(received.contents()) == FILES | {b"new"}


@pytest.mark.parametrize("sparse", ["--no-cone", "--cone"])
def test_a_sparse_partial_clone(repository: Project, receiver: Receiver, sparse: str) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    partial = clone(repository, "--filter=blob:none", "--no-checkout")
    partial.git("sparse-checkout", "set", sparse, "dir")
    partial.git("checkout", "-q", "main")
    repository.root.rename(repository.root.parent / "unreachable")
    received = receiver.receive(make(partial.root), partial=True)
    assert received.contents()[b"dir/b"] == b"b\n"


def test_a_path_of_odd_bytes(repository: Project, receiver: Receiver, tmp_path: Path) -> None:
    for name in (b"new\nline", b'"quoted', b"raw\xff", b"colon:", b"#hash", b" space "):
        root = tmp_path / os.fsdecode(name)
        shutil.copytree(repository.root, root)
        (root / "new").write_text("x")
        assert set(receiver.receive(make(root)).contents()) == FILES | {b"new"}


def test_a_repository_of_another_owner(repository: Project, receiver: Receiver) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to give files away")
    for path in (repository.root, *repository.root.rglob("*")):
        os.lchown(path, 1234, 1234)
    assert set(receiver.receive(make(repository.root)).contents()) == FILES


@pytest.fixture
def with_submodules(repository: Project, tmp_path: Path) -> Project:
    """The repository with a submodule, which has one itself, and one that is not checked out."""
    leaf, library = Project(tmp_path / "leaf"), Project(tmp_path / "library")
    leaf.write("leaf", "leaf\n")
    leaf.commit("leaf")
    library.write("lib", "lib\n")
    library.commit("lib")
    library.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", "--name", "inner", str(leaf.root), "leaf")
    library.commit("with leaf")
    for path in ("vendor/library", "absent"):
        repository.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.root), path)
    repository.git("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init", "--recursive")
    repository.commit("submodules")
    repository.git("submodule", "deinit", "-q", "-f", "absent")
    return repository


def test_without_a_job_that_wants_them_submodules_are_empty_directories(
    with_submodules: Project, receiver: Receiver
) -> None:
    received = receiver.receive(make(with_submodules.root))
    assert len(received.manifest.repositories) == 1
    assert set(received.contents()) == FILES | {b".gitmodules"}
    assert received.project.empty == [b"absent", b"vendor/library"]


def test_normal_submodules_come_without_their_own(with_submodules: Project, receiver: Receiver) -> None:
    received = receiver.receive(make(with_submodules.root, plan_of({"GIT_SUBMODULE_STRATEGY": "normal"}, {})))
    (_, library) = received.manifest.repositories
    assert (library.path, library.parent, library.name) == (b"vendor/library", 0, b"vendor/library")
    assert library.head == git(with_submodules.root / "vendor/library", "rev-parse", "HEAD").decode().strip()
    assert received.contents(1) == {b"lib": b"lib\n", b".gitmodules": received.contents(1)[b".gitmodules"]}
    assert library.empty == [b"leaf"]
    assert library.url == str(with_submodules.root.parent / "library")
    assert library.refs == {b"refs/heads/main": library.head, b"refs/remotes/origin/main": library.head}


def test_recursive_submodules_come_with_their_own_uncommitted_files_and_index(
    with_submodules: Project, receiver: Receiver
) -> None:
    leaf = Project(with_submodules.root / "vendor/library/leaf")
    leaf.write("leaf", "dirty\n")
    leaf.write("new", "new\n")
    leaf.git("add", "new")
    plan = plan_of(GIT_SUBMODULE_STRATEGY="recursive")
    received = receiver.receive(make(with_submodules.root, plan))
    assert [(found.path, found.parent, found.name) for found in received.manifest.repositories[1:]] == [
        (b"vendor/library", 0, b"vendor/library"),
        (b"leaf", 1, b"inner"),
    ]
    assert received.contents(2) == {b"leaf": b"dirty\n", b"new": b"new\n"}
    assert list(received.index(2)) == [b"new"]
    again = make(with_submodules.root, plan, receiver.workspaces)
    assert (again.workspace, again.files) == (received.workspace, {})


def test_the_depth_of_submodules_is_their_own(with_submodules: Project, receiver: Receiver) -> None:
    variables = {"GIT_SUBMODULE_STRATEGY": "normal", "GIT_DEPTH": "3", "GIT_SUBMODULE_DEPTH": "1"}
    received = receiver.receive(make(with_submodules.root, plan_of(variables)))
    head = received.manifest.repositories[1].head
    assert received.git("rev-list", str(head)).decode().split() == [head]
    assert len(received.git("rev-list", str(received.project.head)).split()) == 3


def test_whole_histories_of_submodules_come_with_a_project_of_limited_depth(
    with_submodules: Project, receiver: Receiver
) -> None:
    variables = {"GIT_SUBMODULE_STRATEGY": "normal", "GIT_DEPTH": "1", "GIT_SUBMODULE_DEPTH": "0"}
    received = receiver.receive(make(with_submodules.root, plan_of(variables)))
    assert len(received.git("rev-list", str(received.manifest.repositories[1].head)).split()) == 2
    assert len(received.git("rev-list", str(received.project.head)).split()) == 1


def test_a_submodule_at_another_commit_than_staged(with_submodules: Project, receiver: Receiver) -> None:
    library = Project(with_submodules.root / "vendor/library")
    library.git("checkout", "-q", "HEAD~1")
    with_submodules.git("add", "vendor/library")
    library.git("checkout", "-q", "-")
    received = receiver.receive(make(with_submodules.root, plan_of(GIT_SUBMODULE_STRATEGY="normal")))
    (entry,) = received.index()[b"vendor/library"]
    assert (entry.mode, entry.id) == (0o160000, library.git("rev-parse", "HEAD~1"))
    assert received.manifest.repositories[1].head == library.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://ann:secret@example.com/g/p.git", "https://example.com/g/p.git"),
        ("https://token@example.com/g/p.git", "https://example.com/g/p.git"),
        ("ssh://git@example.com/g/p.git", "ssh://git@example.com/g/p.git"),
        ("ssh://git:secret@example.com/g/p.git", "ssh://git@example.com/g/p.git"),
        ("git@example.com:g/p.git", "git@example.com:g/p.git"),
        ("../p", "../p"),
        ("", ""),
    ],
)
def test_an_address_loses_its_credentials(url: str, clean: str) -> None:
    assert without_password(url) == clean
