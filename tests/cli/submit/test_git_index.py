"""The manifest says what a job's index has to hold, so that its `git status` equals the user's."""

from __future__ import annotations

import os
from hashlib import sha256

from snapshots.store import cache_home
from tests.support.project import Project
from tests.support.received_workspaces import Receiver, git, make


def test_staged_changes_come_with_their_blobs(repository: Project, receiver: Receiver) -> None:
    repository.write("a", "staged\n")
    repository.write("new", "new\n")
    repository.git("add", "a", "new")
    repository.write("a", "on disk\n")
    repository.git("rm", "-q", "--cached", "dir/b")
    received = receiver.receive(make(repository.root))
    index = {
        path: [(entry.mode, entry.stage, entry.clean) for entry in found] for path, found in received.index().items()
    }
    assert index == {b"a": [(0o100644, 0, False)], b"dir/b": [(0, 0, False)], b"new": [(0o100644, 0, False)]}
    (staged,) = received.index()[b"a"]
    assert received.git("cat-file", "blob", f"{received.workspace.snapshot}:staged/{staged.id}") == b"staged\n"
    assert received.contents()[b"a"] == b"on disk\n"


def test_an_unstaged_change_is_no_entry(repository: Project, receiver: Receiver) -> None:
    repository.write("a", "on disk\n")
    (repository.root / "dir" / "b").unlink()
    assert receiver.receive(make(repository.root)).index() == {}


def test_a_staged_mode_is_an_entry(repository: Project, receiver: Receiver) -> None:
    repository.git("update-index", "--chmod=-x", "run.sh")
    (entry,) = receiver.receive(make(repository.root)).index()[b"run.sh"]
    assert (entry.mode, entry.clean) == (0o100644, False)


def test_a_conflict_has_all_its_stages(repository: Project, receiver: Receiver) -> None:
    repository.git("checkout", "-q", "-b", "other", "HEAD~1")
    repository.write("a", "theirs\n")
    repository.commit("theirs")
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-commit", "-s", "resolve", "HEAD")
    ids = [repository.git("rev-parse", f"{commit}:a") for commit in ("HEAD~1", "HEAD", "other")]
    lines = "".join(f"100644 {id} {stage + 1}\ta\n" for stage, id in enumerate(ids))
    repository.git("update-index", "--force-remove", "a")
    git(repository.root, "update-index", "--index-info", asked=lines.encode())
    assert "UU a" in repository.git("status", "--porcelain")
    received = receiver.receive(make(repository.root))
    assert [(entry.stage, entry.id) for entry in received.index()[b"a"]] == list(enumerate(ids, 1))
    for id in ids:
        received.git("cat-file", "-e", id)


def test_an_entry_of_intent_is_one(repository: Project, receiver: Receiver) -> None:
    repository.write("new", "new\n")
    repository.write("empty", "")
    repository.git("add", "-N", "new", "empty")
    index = receiver.receive(make(repository.root)).index()
    assert {path: entry.intent_to_add for path, (entry,) in index.items()} == {b"new": True, b"empty": True}


def test_a_sparse_checkout_has_its_files_only_and_says_which_are_skipped(
    repository: Project, receiver: Receiver
) -> None:
    repository.git("sparse-checkout", "set", "dir")
    received = receiver.receive(make(repository.root))
    assert b"dir/b" in received.contents()
    skipped = {path for path, (entry,) in received.index().items() if entry.skip_worktree}
    present = set(received.contents())
    assert present | skipped == {b"a", b"dir/b", b"run.sh"}
    assert not present & skipped


def test_a_sparse_index_is_read(repository: Project, receiver: Receiver) -> None:
    repository.write("other/deep/c", "c\n")
    repository.commit("other")
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "dir")
    received = receiver.receive(make(repository.root))
    assert b"other/deep/c" not in received.contents()
    (entry,) = received.index()[b"other/deep/c"]
    assert entry.skip_worktree


def test_a_split_index_is_read(repository: Project, receiver: Receiver) -> None:
    for number in range(50):
        repository.write(f"more/{number}", str(number))
    repository.commit("more")
    repository.git("update-index", "--split-index")
    repository.write("a", "staged\n")
    repository.git("add", "a")
    received = receiver.receive(make(repository.root))
    assert list(received.index()) == [b"a"]
    assert len(received.contents()) == 53


def test_a_file_whose_bytes_differ_only_by_git_s_conversion_is_clean(repository: Project, receiver: Receiver) -> None:
    repository.write(".gitattributes", "*.txt text eol=crlf\n*.big filter=f\n")
    (repository.root / "t.txt").write_bytes(b"one\r\n")
    (repository.root / "changed.txt").write_bytes(b"one\r\n")
    repository.git("config", "filter.f.clean", "tr a-z A-Z")
    repository.write("x.big", "content\n")
    repository.commit("conversions")
    os.utime(repository.root / "x.big", (9, 9))
    repository.git("status")
    (repository.root / "changed.txt").write_bytes(b"two\r\n")
    assert repository.git("status", "--porcelain") == "M changed.txt"
    received = receiver.receive(make(repository.root))
    assert {path: entry.clean for path, (entry,) in received.index().items()} == {b"t.txt": True, b"x.big": True}
    assert received.contents()[b"t.txt"] == b"one\r\n"


def test_a_file_of_git_lfs_is_clean_if_its_pointer_names_it_whatever_its_time(
    repository: Project, receiver: Receiver
) -> None:
    root = repository.root
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(b'large').hexdigest()}\nsize 5\n"
    for name in ("same.bin", "changed.bin", "longer.bin"):
        (root / name).write_text(pointer)
    repository.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    repository.commit("pointers")
    repository.git("config", "filter.lfs.clean", "false")
    repository.git("config", "filter.lfs.required", "true")
    for name, content in {"same.bin": b"large", "changed.bin": b"smale", "longer.bin": b"larger"}.items():
        (root / name).write_bytes(content)
    received = receiver.receive(make(root))
    assert {path for path, (entry,) in received.index().items() if entry.clean} == {b"same.bin"}
    assert received.contents()[b"same.bin"] == b"large"


def test_an_entry_that_git_assumes_to_be_unchanged_is_clean_or_skipped(repository: Project, receiver: Receiver) -> None:
    repository.git("update-index", "--assume-unchanged", "a", "dir/b")
    repository.write("a", "changed\n")
    (repository.root / "dir" / "b").unlink()
    assert repository.git("status", "--porcelain") == ""
    index = receiver.receive(make(repository.root)).index()
    assert {path: (entry.clean, entry.skip_worktree) for path, (entry,) in index.items()} == {
        b"a": (True, False),
        b"dir/b": (False, True),
    }


def test_without_trust_in_modes_the_index_has_them(repository: Project, receiver: Receiver) -> None:
    repository.git("config", "core.fileMode", "false")
    (repository.root / "a").chmod(0o777)
    (repository.root / "run.sh").chmod(0o666)
    received = receiver.receive(make(repository.root))
    assert received.index() == {}
    assert (received.files()[b"a"][0], received.files()[b"run.sh"][0]) == ("100644", "100755")
    assert b"a" not in received.project.modes.other


def test_a_staged_name_keeps_its_bytes(repository: Project, receiver: Receiver) -> None:
    name = b'raw\xff\n"name'
    with open(os.fsencode(repository.root) + b"/" + name, "wb") as file:
        file.write(b"x")
    repository.git("add", "-A")
    assert list(receiver.receive(make(repository.root)).index()) == [name]


def test_only_a_copy_of_the_index_is_refreshed(repository: Project, receiver: Receiver) -> None:
    os.utime(repository.root / "a", (5, 5))
    receiver.receive(make(repository.root))
    (copy,) = (path for path in cache_home().glob("*/index-*") if path.suffix != ".of")
    assert b"mtime: 5:0" not in git(repository.root, "ls-files", "--debug", "a")
    assert b"mtime: 5:0" in git(repository.root, "ls-files", "--debug", "a", GIT_INDEX_FILE=str(copy))
