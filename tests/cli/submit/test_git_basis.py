"""Of many files, a snapshot reads those that may have changed since the last one, and finds what reading all finds."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cli.submit.workspace import contents, files
from cli.submit.workspace.files import FileReader
from cli.submit.workspace.maker import GitWorkspaceMaker
from cli.submit.workspace.repositories import Scan
from pipeline import Repository
from pipeline.file_listing import Listing, project_files
from tests.support.project import Project
from tests.support.received_workspaces import Receiver, make, plan_of

PAST = itertools.count(1_000_000_000)
YEAR_2020 = 1_577_836_800


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes each repository one of many files, all old; counts the files that each snapshot looks at."""
    monkeypatch.setattr(contents, "MANY_FILES", 1)
    monkeypatch.setattr(files, "RECENT_NS", 0)
    counts: list[int] = []
    original = FileReader.read

    def counted(self: FileReader, listing: Listing, *, trust_modes: bool = True) -> object:
        counts.append(len(listing.files))
        return original(self, listing, trust_modes=trust_modes)

    monkeypatch.setattr(FileReader, "read", counted)
    return counts


@pytest.fixture
def many(repository: Project) -> Project:
    """A repository with 24 files whose times are in the past, as they are some seconds after a checkout."""
    for number in range(20):
        repository.write(f"part-{number % 3}/deep/file-{number}", f"{number}\n")
    repository.write("shut", "only mine\n").chmod(0o600)
    repository.commit("many")
    age(repository.root)
    repository.git("update-index", "--refresh")
    return repository


def age(root: Path) -> None:
    """Gives files of the present a time of the past, each time another one: here all happens in one second."""
    past = next(PAST)
    for folder, names, found in os.walk(root):
        if ".git" in names:
            names.remove(".git")
        for path in (os.path.join(folder, name) for name in found):
            if os.lstat(path).st_mtime > YEAR_2020:
                os.utime(path, (past, past), follow_symlinks=False)


def scan_of(root: Path) -> Scan:
    """What a snapshot of the project finds."""
    with closing(GitWorkspaceMaker(Repository(root), lambda _: None)) as maker:
        return maker.read()


def effective(project: Project, found: Scan) -> dict[str, int]:
    """Permission bits that a job's files and directories get."""
    modes, bits = found.manifest.modes, {}
    names = {name for name in project_files(project.root) if os.fsencode(name) not in found.left_out}
    for path in {folder for name in names for folder in (Path(name), *Path(name).parents)} - {Path()}:
        status = (project.root / path).lstat()
        if stat.S_ISLNK(status.st_mode):
            continue
        usual = modes.directory if stat.S_ISDIR(status.st_mode) else modes.file
        usual = modes.executable if stat.S_ISREG(status.st_mode) and status.st_mode & 0o100 else usual
        bits[str(path)] = modes.other.get(bytes(path), usual)
    return bits


def assert_same(project: Project, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading what may have changed finds the same as reading all of it, with an empty cache."""
    built = scan_of(project.root)
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(cache))
        patched.setattr(contents, "MANY_FILES", 1 << 30)
        whole = scan_of(project.root)
    shutil.rmtree(cache)
    assert built.files.hex() == whole.files.hex()
    assert (built.manifest.index, built.manifest.empty) == (whole.manifest.index, whole.manifest.empty)
    assert effective(project, built) == effective(project, whole)
    assert (built.staged, built.left_out) == (whole.staged, whole.left_out)


def test_an_unchanged_project_is_not_read_again(many: Project, read: list[int]) -> None:
    first, second = scan_of(many.root), scan_of(many.root)
    assert first.files == second.files
    assert first.manifest == second.manifest
    assert read == [24, 0]


def test_a_changed_and_a_new_file_are_all_that_is_read(many: Project, read: list[int], receiver: Receiver) -> None:
    receiver.receive(make(many.root))
    many.write("part-1/deep/file-1", "changed\n")
    many.write("new/file", "new\n")
    received = receiver.receive(make(many.root, bases=receiver.workspaces)).contents()
    assert read == [24, 2]
    assert (received[b"part-1/deep/file-1"], received[b"new/file"]) == (b"changed\n", b"new\n")
    assert len(received) == 25


def test_more_changes_than_git_lists_faster_are_read_with_all_files(
    many: Project, read: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contents, "MOST_CHANGED", 1)
    scan_of(many.root)
    many.write("a", "changed\n")
    many.write("dir/b", "changed\n")
    assert_same(many, tmp_path / "other", monkeypatch)
    assert read[1] == 24


def test_trees_that_are_gone_are_made_again(many: Project, read: list[int], receiver: Receiver, tmp_path: Path) -> None:
    scan_of(many.root)
    shutil.rmtree(next((tmp_path / "cache" / "longshore" / "snapshots").iterdir()) / "objects")
    many.write("part-1/deep/file-1", "changed\n")
    received = receiver.receive(make(many.root)).contents()
    assert received[b"part-1/deep/file-1"] == b"changed\n"
    assert len(received) == 24
    many.write("part-1/deep/file-4", "changed\n")
    shutil.rmtree(next((tmp_path / "cache" / "longshore" / "snapshots").iterdir()) / "objects")
    assert len(receiver.receive(make(many.root)).contents()) == 24


STEPS: dict[str, Callable[[Project], object]] = {
    "edit": lambda p: p.write("part-0/deep/file-0", "edited\n"),
    "edit again": lambda p: p.write("part-0/deep/file-0", "edited again\n"),
    "revert": lambda p: p.git("checkout", "-f", "--", "part-0"),
    "touch": lambda p: os.utime(p.root / "a"),
    "open": lambda p: ((p.root / "a").chmod(0o666), os.utime(p.root / "a")),
    "make executable": lambda p: (p.root / "part-1/deep/file-1").chmod(0o755),
    "make plain": lambda p: (p.root / "run.sh").chmod(0o644),
    "shut a folder": lambda p: (p.root / "part-2/deep").chmod(0o700),
    "delete": lambda p: (p.root / "part-1/deep/file-4").unlink(missing_ok=True),
    "delete a folder": lambda p: shutil.rmtree(p.root / "part-1", ignore_errors=True),
    "a folder for a file": lambda p: ((p.root / "a").unlink(missing_ok=True), p.write("a/inner", "x\n")),
    "a file for a folder": lambda p: (shutil.rmtree(p.root / "dir", ignore_errors=True), p.write("dir", "x\n")),
    "a link for a folder": lambda p: (shutil.rmtree(p.root / "part-2"), (p.root / "part-2").symlink_to("part-0")),
    "new": lambda p: p.write("new/one", "1\n"),
    "new executable": lambda p: p.write("new/two", "2\n").chmod(0o711),
    "new goes": lambda p: (p.root / "new/one").unlink(missing_ok=True),
    "empty folder": lambda p: (p.root / "empty/inner").mkdir(parents=True, exist_ok=True),
    "empty folder goes": lambda p: shutil.rmtree(p.root / "empty", ignore_errors=True),
    "ignore": lambda p: p.write(".gitignore", "new\n"),
    "ignore no longer": lambda p: (p.root / ".gitignore").unlink(missing_ok=True),
    "stage": lambda p: p.git("add", "-A"),
    "unstage": lambda p: p.git("reset", "-q"),
    "commit": lambda p: p.commit("more"),
    "move the head only": lambda p: p.git("reset", "-q", "--soft", "HEAD~1"),
    "intend": lambda p: (p.write("intended", "x\n"), p.git("add", "-N", "intended")),
    "untrack": lambda p: p.git("rm", "-q", "--cached", "run.sh"),
    "assume": lambda p: (p.git("update-index", "--assume-unchanged", "shut"), p.write("shut", "assumed\n")),
    "edit assumed": lambda p: p.write("shut", "assumed again\n"),
    "skip": lambda p: (p.git("update-index", "--skip-worktree", "shut"), (p.root / "shut").unlink()),
    "inner repository": lambda p: Project(p.root / "inside").commit(),
    "odd name": lambda p: p.write("part-0/.GIT/config", "x\n"),
    "all": lambda p: p.git("checkout", "-q", "-f", "HEAD", "--", "."),
    "age": lambda p: age(p.root),
}


@pytest.mark.parametrize("seed", range(int(os.environ.get("LONGSHORE_BASIS_SEEDS", "1"))))
def test_whatever_happens_between_snapshots_they_find_what_is_there(
    seed: int, many: Project, read: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    names = sorted(STEPS)
    dice.shuffle(names)
    scan_of(many.root)
    for name in names:
        with suppress(Exception):  # a step that has no meaning after those before it
            STEPS[name](many)
        if dice.random() < 0.5:
            age(many.root)
        assert_same(many, tmp_path / "other", monkeypatch)
    assert min(read) < 6


def test_a_mode_that_changes_in_the_second_of_the_snapshot_is_seen(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "MANY_FILES", 1)
    scan_of(many.root)
    for mode in (0o666, 0o640, 0o600):
        (many.root / "a").chmod(mode)
        assert scan_of(many.root).manifest.modes.other[b"a"] == mode


def test_another_index_is_no_basis(many: Project, read: list[int]) -> None:
    scan_of(many.root)
    many.write("a", "staged\n")
    many.git("add", "a")
    scan_of(many.root)
    scan_of(many.root)
    assert read[0] == read[1] == 24
    assert read[2] < 3


def killed_at(root: Path, step: int) -> bool:
    """Makes a workspace in a process that kills itself at a step; whether it came that far."""
    child = os.fork()
    if child == 0:
        steps = itertools.count(1)

        def see(event: str, arguments: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (event in ("os.rename", "os.remove", "os.mkdir", "subprocess.Popen") or writes) and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(see)
        with suppress(BaseException):
            GitWorkspaceMaker(Repository(root), lambda _: None).make(plan_of(), [])
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_client_that_is_killed_at_any_step_leaves_a_sound_cache(
    many: Project, read: list[int], receiver: Receiver
) -> None:
    for step in itertools.count(1, 3):
        many.write("a", f"{step}\n")
        many.write(f"part-0/new-{step % 4}", f"{step}\n")
        if not killed_at(many.root, step):
            break
        received = receiver.receive(make(many.root, bases=receiver.workspaces[:1])).contents()
        assert received == {os.fsencode(name): (many.root / name).read_bytes() for name in project_files(many.root)}
    assert step > 20
