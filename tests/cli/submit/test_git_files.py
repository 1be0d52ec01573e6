"""A snapshot has the files as they are on disk, byte by byte, and never writes to the user's repository."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from cli.submit.workspace.maker import GitWorkspaceMaker
from pipeline import Repository
from protocol.errors import LongshoreError
from tests.support.project import Project
from tests.support.received_workspaces import Receiver, make, plan_of

FIRST = {b"a": b"one\ntwo\nthree\n", b"dir/b": b"b\n", b"run.sh": b"#!/bin/sh\n"}


def test_a_clean_checkout_arrives_whole(repository: Project, receiver: Receiver) -> None:
    received = receiver.receive(make(repository.root))
    assert received.contents() == FIRST
    assert received.files()[b"run.sh"][0] == "100755"
    assert received.project.index == []
    assert received.project.head == repository.git("rev-parse", "HEAD")
    assert received.project.branch == "main"


def test_uncommitted_and_new_files_come_and_deleted_and_ignored_ones_do_not(
    repository: Project, receiver: Receiver
) -> None:
    repository.write("a", "changed\n")
    repository.write("new/file", "new\n")
    repository.write(".gitignore", "*.log\n")
    repository.write("noise.log", "x\n")
    (repository.root / "dir" / "b").unlink()
    assert receiver.receive(make(repository.root)).contents() == {
        b"a": b"changed\n",
        b"new/file": b"new\n",
        b".gitignore": b"*.log\n",
        b"run.sh": b"#!/bin/sh\n",
    }


def test_a_later_snapshot_has_a_change_of_the_same_size_and_time(repository: Project, receiver: Receiver) -> None:
    path = repository.write("new", "one")
    os.utime(path, (1, 1))
    first = receiver.receive(make(repository.root))
    path.write_text("two")
    os.utime(path, (1, 1))
    second = receiver.receive(make(repository.root, bases=receiver.workspaces))
    assert (first.contents()[b"new"], second.contents()[b"new"]) == (b"one", b"two")


def test_files_of_any_time_are_read_and_read_again(repository: Project, receiver: Receiver) -> None:
    times = {"before 1970": -1_500_000_000, "begin": 0, "far": 4_000_000_000 * 10**9}
    for content in ("one", "two"):
        for name, time in times.items():
            path = repository.write(name, content)
            os.utime(path, ns=(time, time))
        for _ in range(2):
            made = receiver.receive(make(repository.root, bases=receiver.workspaces))
            assert {made.contents()[name.encode()] for name in times} == {content.encode()}


def test_an_unchanged_project_is_the_same_workspace_and_sends_nothing(repository: Project, receiver: Receiver) -> None:
    repository.write("new", "x")
    first = make(repository.root)
    receiver.receive(first)
    again = make(repository.root, bases=receiver.workspaces)
    assert (again.workspace, again.files) == (first.workspace, {})


def test_modes_links_and_empty_directories_survive(repository: Project, receiver: Receiver) -> None:
    root = repository.root
    (root / "private").write_text("x")
    (root / "private").chmod(0o600)
    (root / "tool").write_text("x")
    (root / "tool").chmod(0o4755)
    (root / "link").symlink_to("dir/b")
    (root / "dangling").symlink_to("/nowhere")
    (root / "empty").mkdir()
    (root / "deep" / "er").mkdir(parents=True)
    (root / "dir").chmod(0o700)
    received = receiver.receive(make(root))
    files = received.files()
    assert files[b"link"] == ("120000", b"dir/b")
    assert files[b"dangling"] == ("120000", b"/nowhere")
    assert files[b"tool"][0] == "100755"
    modes = received.project.modes
    expected = {path: stat.S_IMODE(os.lstat(root / os.fsdecode(path)).st_mode) for path in modes.other}
    assert modes.other == expected
    assert {b"private", b"tool", b"dir"} <= set(modes.other)
    assert modes.file == stat.S_IMODE((root / "a").stat().st_mode)
    assert received.project.empty == [b"deep/er", b"empty"]


def test_odd_names_survive(repository: Project, receiver: Receiver) -> None:
    top = os.fsencode(repository.root) + b"/"
    names = [
        b"with space",
        b"raw\xff\xfe",
        b"new\nline",
        b"tab\tand\\",
        b"x" * 255,
        b"Case",
        b"case",
        b'"quoted"',
        b"-n",
    ]
    names += ["größe ключ".encode(), "e\u0301".encode(), "\u00e9".encode(), b"dir.b", b"dir-b", b"dir0"]
    for number, name in enumerate(names):
        with open(top + name, "wb") as file:
            file.write(b"%d" % number)
    repository.git("add", "-A")
    for _ in range(2):  # tracked, and not
        contents = receiver.receive(make(repository.root)).contents()
        assert {name: contents[name] for name in names} == {name: b"%d" % n for n, name in enumerate(names)}
        repository.git("reset", "-q")


def test_a_directory_named_like_git_s_own_is_left_out_with_a_warning(repository: Project, receiver: Receiver) -> None:
    repository.write("sub/.GIT/hooks/x", "x")
    repository.write(".Git", "x")
    warnings: list[str] = []
    received = receiver.receive(make(repository.root, warnings=warnings))
    assert received.contents() == FIRST
    assert sorted(warnings) == [
        ".Git is left out: git takes no file of such a name",
        "sub/.GIT/hooks/x is left out: git takes no file of such a name",
    ]


def test_pipes_and_sockets_are_left_out(repository: Project, receiver: Receiver) -> None:
    os.mkfifo(repository.root / "pipe")
    (repository.root / "a").unlink()
    os.mkfifo(repository.root / "a")
    contents = receiver.receive(make(repository.root)).contents()
    assert set(contents) == {b"dir/b", b"run.sh"}


def test_a_directory_in_a_file_s_place_and_the_reverse_come_as_they_are(
    repository: Project, receiver: Receiver
) -> None:
    root = repository.root
    (root / "a").unlink()
    repository.write("a/part", "x")
    (root / "dir" / "b").unlink()
    (root / "dir").rmdir()
    repository.write("dir", "x")
    contents = receiver.receive(make(root)).contents()
    assert set(contents) == {b"a/part", b"dir", b"run.sh"}


def test_a_link_in_a_directory_s_place_hides_what_is_behind_it(repository: Project, receiver: Receiver) -> None:
    root = repository.root
    (root / "dir").rename(root.parent / "elsewhere")
    (root / "dir").symlink_to(root.parent / "elsewhere")
    files = receiver.receive(make(root)).files()
    assert set(files) == {b"a", b"dir", b"run.sh"}
    assert files[b"dir"][0] == "120000"


def test_files_are_sent_as_on_disk_whatever_git_would_convert(repository: Project, receiver: Receiver) -> None:
    repository.write(
        ".gitattributes", "*.txt text eol=crlf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n*.big filter=f\n"
    )
    root = repository.root
    (root / "lines.txt").write_bytes(b"one\r\ntwo\r\n")
    (root / "v.id").write_text("$Id$\n")
    (root / "text.u16").write_bytes("text\n".encode("utf-16"))
    (root / "x.big").write_bytes(b"large content\n")
    repository.git("config", "filter.f.clean", "tr a-z A-Z")
    repository.git("config", "filter.f.smudge", "tr A-Z a-z")
    repository.commit("conversions")
    (root / "v.id").unlink()
    repository.git("checkout", "v.id")
    on_disk = {os.fsencode(name): (root / name).read_bytes() for name in ("lines.txt", "v.id", "text.u16", "x.big")}
    assert b"$Id: " in on_disk[b"v.id"]
    for number in range(40):  # enough to ask the index for what it knows
        repository.write(f"more/{number}", str(number))
    repository.commit("more")
    for path in root.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            os.utime(path, (2, 2))
    repository.git("status")
    received = receiver.receive(make(root))
    assert {name: received.contents()[name] for name in on_disk} == on_disk


def test_settings_of_the_user_convert_nothing(repository: Project, receiver: Receiver) -> None:
    repository.git("config", "core.autocrlf", "true")
    repository.write("dos", "a\n")
    (repository.root / "dos").write_bytes(b"a\r\nb\r\n")
    repository.commit("dos")
    assert receiver.receive(make(repository.root)).contents()[b"dos"] == b"a\r\nb\r\n"


def test_programs_of_the_configuration_do_not_run(repository: Project, receiver: Receiver) -> None:
    ran = repository.root.parent / "ran"
    program = repository.root.parent / "program"
    program.write_text(f"#!/bin/sh\necho $0 $* >> {ran}\ncat\n")
    program.chmod(0o755)
    repository.write(".gitattributes", "* filter=f diff=f merge=f\n")
    repository.commit("attributes")
    for key in ("filter.f.clean", "filter.f.smudge", "core.fsmonitor", "diff.f.textconv", "core.sshCommand"):
        repository.git("config", key, str(program))
    repository.git("config", "filter.f.required", "true")
    hooks = repository.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout"):
        (hooks / name).write_bytes(program.read_bytes())
        (hooks / name).chmod(0o755)
    repository.write("a", "changed\n")
    os.utime(repository.root / "run.sh")
    assert receiver.receive(make(repository.root)).contents()[b"a"] == b"changed\n"
    assert not ran.exists()


def test_variables_of_a_hook_do_not_redirect(
    repository: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_WORK_TREE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    ):
        monkeypatch.setenv(key, "/nowhere")
    assert receiver.receive(make(repository.root)).contents() == FIRST


def test_an_unreadable_file_is_one_clear_error(repository: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.write("new", "x").chmod(0)
    if os.getuid() == 0:  # who may read everything
        real = os.open

        def refused(name: bytes, *arguments: int, **options: int) -> int:
            if isinstance(name, bytes) and name.endswith(b"/new"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return real(name, *arguments, **options)

        monkeypatch.setattr("cli.submit.workspace.files.os.open", refused)
    with pytest.raises(LongshoreError, match=r"can't read .*/new: Permission denied"):
        make(repository.root)


def test_files_of_a_repository_inside_come_as_files(repository: Project, receiver: Receiver) -> None:
    inner = Project(repository.root / "inner")
    inner.write("x", "x")
    inner.commit()
    received = receiver.receive(make(repository.root))
    assert set(received.contents()) == {*FIRST, b"inner/x"}
    assert len(received.manifest.repositories) == 1


def test_a_large_file_survives(repository: Project, receiver: Receiver) -> None:
    data = os.urandom(3 << 20) * 4
    (repository.root / "large").write_bytes(data)
    assert receiver.receive(make(repository.root)).contents()[b"large"] == data


def test_many_new_files_survive(repository: Project, receiver: Receiver) -> None:
    for number in range(300):
        repository.write(f"many/{number % 7}/{number}", f"{number}\n")
    contents = receiver.receive(make(repository.root)).contents()
    assert len(contents) == 303
    assert contents[b"many/1/8"] == b"8\n"


def test_a_file_that_goes_while_it_is_read_is_left_out(
    repository: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write("gone", "x")
    real = os.open

    def opened(name: bytes, *arguments: int, **options: int) -> int:
        if isinstance(name, bytes) and name.endswith(b"/gone"):
            path.unlink(missing_ok=True)
        return real(name, *arguments, **options)

    monkeypatch.setattr("cli.submit.workspace.files.os.open", opened)
    assert receiver.receive(make(repository.root)).contents() == FIRST


@pytest.mark.parametrize("size", [10, 9 << 20], ids=["small", "large"])
def test_a_file_that_changes_while_it_is_read_comes_in_one_state_and_is_read_again_next_time(
    repository: Project, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = repository.write("log", "x" * size)
    os.utime(path, (1, 1))
    real, changes = os.fstat, iter([b"y" * size, b"z" * (size + 1)])

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino == path.stat().st_ino and (data := next(changes, None)) is not None:
            path.write_bytes(data)
        return found

    monkeypatch.setattr("cli.submit.workspace.files.os.fstat", fstat)
    sent = receiver.receive(make(repository.root)).contents()[b"log"]
    assert sent in (b"x" * size, b"y" * size, b"z" * (size + 1))
    monkeypatch.undo()
    received = receiver.receive(make(repository.root, bases=receiver.workspaces))
    assert received.contents()[b"log"] == path.read_bytes()


def test_a_file_that_never_rests_is_one_clear_error(repository: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repository.write("log", "x" * (9 << 20))
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if found.st_ino == path.stat().st_ino:
            with path.open("ab") as file:
                file.write(b"more")
        return found

    monkeypatch.setattr("cli.submit.workspace.files.os.fstat", fstat)
    with pytest.raises(LongshoreError, match="log changed while it was read; try again"):
        make(repository.root)


def test_a_broken_repository_is_one_clear_error(repository: Project) -> None:
    (repository.root / ".git" / "HEAD").write_text("garbage")
    with pytest.raises(LongshoreError, match="git can't"):
        make(repository.root)


def test_objects_that_the_user_s_repository_drops_are_found_to_be_missing(
    repository: Project, receiver: Receiver
) -> None:
    path = repository.write("later", "staged, and dropped\n")
    os.utime(path, (1, 1))
    repository.git("add", "later")
    receiver.receive(make(repository.root))
    repository.git("rm", "-q", "--cached", "later")
    repository.git("prune", "--expire=now")
    assert receiver.receive(make(repository.root)).contents()[b"later"] == b"staged, and dropped\n"


def test_a_cache_directory_that_can_t_be_written_costs_only_time(
    repository: Project, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    repository.write("new", "x")
    with closing(GitWorkspaceMaker(Repository(repository.root))) as maker:
        received = receiver.receive(maker.make(plan_of(), []))
    assert set(received.contents()) == {*FIRST, b"new"}
    assert list((tmp_path / "temporary").iterdir()) == []
