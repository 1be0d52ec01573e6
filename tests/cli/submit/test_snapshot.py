"""What goes into the workspace of a run, and that the same files always make the same tar."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from cli.submit.snapshot import Snapshot, write_snapshot
from protocol.errors import LongshoreError
from protocol.workspace import MTIME


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.email=dev@example.com", "-c", "user.name=Dev", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one commit: a script, a text, an ignore file."""
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "sub").mkdir()
    (root / "sub" / "text").write_text("text\n")
    (root / ".gitignore").write_text("*.log\nbuild/\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def pack(root: Path, target: str = "snapshot.tar") -> tuple[Snapshot, dict[str, tarfile.TarInfo]]:
    made = write_snapshot(root, root.parent / target)
    with tarfile.open(made.path, errors="surrogateescape") as tar:
        return made, {member.name: member for member in tar}


def content(snapshot: Snapshot, name: str) -> bytes:
    with tarfile.open(snapshot.path) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_tracked_files_come_with_their_uncommitted_changes(project: Path) -> None:
    (project / "sub" / "text").write_text("changed\n")
    made, members = pack(project)
    assert set(members) == {".gitignore", "run.sh", "sub", "sub/text"}
    assert content(made, "sub/text") == b"changed\n"


def test_untracked_files_come_and_ignored_ones_do_not(project: Path) -> None:
    (project / "new").mkdir()
    (project / "new" / "file").write_text("new\n")
    (project / "new" / "noise.log").write_text("noise\n")
    (project / "debug.log").write_text("noise\n")
    (project / "build").mkdir()
    (project / "build" / "out").write_text("out\n")
    _, members = pack(project)
    assert {"new", "new/file"} <= set(members)
    assert not {"new/noise.log", "debug.log", "build", "build/out"} & set(members)


def test_a_tracked_file_that_was_deleted_is_not_there(project: Path) -> None:
    (project / "sub" / "text").unlink()
    _, members = pack(project)
    assert "sub/text" not in members


def test_a_file_whose_place_a_folder_has_taken_and_the_reverse_come_as_they_are(project: Path) -> None:
    (project / "run.sh").unlink()
    (project / "run.sh" / "empty").mkdir(parents=True)
    (project / "run.sh" / "part").write_text("x")
    (project / "run.sh" / "noise.log").write_text("x")
    (project / "sub" / "text").unlink()
    (project / "sub").rmdir()
    (project / "sub").write_text("x")
    _, members = pack(project)
    assert set(members) == {".gitignore", "run.sh", "run.sh/empty", "run.sh/part", "sub"}
    assert members["sub"].isfile()


def test_nothing_comes_through_a_link_that_has_taken_a_folder_s_place(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (project / "sub").rename(tmp_path / "outside" / "sub")
    (project / "sub").symlink_to(tmp_path / "outside" / "sub")
    _, members = pack(project)
    assert set(members) == {".gitignore", "run.sh", "sub"}
    assert members["sub"].issym()


def test_modes_symlinks_empty_directories_and_odd_names_survive(project: Path) -> None:
    (project / "with space").write_text("a")
    (project / "größe ключ").write_text("b")
    (project / os.fsdecode(b"raw\xff")).write_text("c")
    (project / ("long" * 50)).write_text("d")
    (project / "private").write_text("e")
    (project / "private").chmod(0o640)
    (project / "link").symlink_to("sub/text")
    (project / "dangling").symlink_to("/nowhere")
    (project / "link to folder").symlink_to("sub")
    (project / "empty").mkdir()
    (project / "sub" / "also empty").mkdir()
    (project / "new" / "deep" / "empty").mkdir(parents=True)
    _, members = pack(project)
    assert {"with space", "größe ключ", "raw\udcff", "long" * 50} <= set(members)
    assert members["run.sh"].mode == 0o755
    assert members["private"].mode == 0o640
    assert members["link"].linkname == "sub/text"
    assert members["dangling"].linkname == "/nowhere"
    assert members["link to folder"].issym()
    assert all(members[name].isdir() for name in ("empty", "sub/also empty", "new/deep/empty"))


def test_an_ignored_empty_directory_is_left_out(project: Path) -> None:
    (project / "new" / "build").mkdir(parents=True)
    (project / "new" / "kept").mkdir()
    _, members = pack(project)
    assert "new/kept" in members
    assert "new/build" not in members


def test_files_of_submodules_and_of_repositories_inside_come_too(project: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    (library / "lib.txt").write_text("lib\n")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "lib")
    git(project, "submodule", "add", "-q", str(library), "vendor/library")
    shutil.copytree(library, project / "inner")
    _, members = pack(project)
    assert {"vendor/library/lib.txt", "inner/lib.txt", ".gitmodules"} <= set(members)
    assert not any(".git" in Path(name).parts for name in members)


def test_a_folder_that_is_no_repository_goes_in_whole(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    (root / "empty").mkdir(parents=True)
    (root / "file.log").write_text("x")
    (root / "link").symlink_to("empty")
    _, members = pack(root)
    assert set(members) == {"empty", "file.log", "link"}
    assert members["link"].issym()


def test_the_same_files_make_the_same_digest_wherever_and_whenever(project: Path, tmp_path: Path) -> None:
    first, members = pack(project)
    other = tmp_path / "elsewhere" / "clone"
    shutil.copytree(project, other, symlinks=True)
    os.utime(other / "run.sh", (1, 1))
    second, _ = pack(other)
    assert first.digest == second.digest
    assert {(member.mtime, member.uid, member.gid, member.uname) for member in members.values()} == {(MTIME, 0, 0, "")}


def test_another_mode_makes_another_digest(project: Path) -> None:
    first, _ = pack(project)
    (project / "run.sh").chmod(0o644)
    second, _ = pack(project)
    assert first.digest != second.digest


def test_a_repository_of_another_owner_is_read(project: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to give files away")
    for path in (project, *project.rglob("*")):
        os.lchown(path, 1234, 1234)
    _, members = pack(project)
    assert "run.sh" in members


def test_a_broken_repository_is_one_clear_error(project: Path) -> None:
    (project / ".git" / "HEAD").write_text("garbage")
    with pytest.raises(LongshoreError, match="git can't list the files of"):
        pack(project)


def test_a_file_that_shrinks_or_goes_while_it_is_packed_is_no_failure(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "gone").write_text("gone\n")
    real_fstat, real_lstat = os.fstat, os.lstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real_fstat(descriptor)
        os.truncate(project / "sub" / "text", 2)
        return found

    def lstat(path: str | Path) -> os.stat_result:
        found = real_lstat(path)
        if str(path).endswith("/gone"):
            os.unlink(path)
        return found

    monkeypatch.setattr("cli.submit.snapshot.os.fstat", fstat)
    monkeypatch.setattr("cli.submit.snapshot.os.lstat", lstat)
    made, members = pack(project)
    assert set(members) == {".gitignore", "run.sh", "sub", "sub/text"}
    assert content(made, "sub/text") == b"te"
