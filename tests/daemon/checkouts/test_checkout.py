"""A checkout is what `git clone` and the user's own files make together: compared with the original, by git itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.executors.base import CheckoutOptions
from daemon.executors.common import archives as tars
from protocol.workspace import GitWorkspace, Modes
from tests.support.checkouts import FULL, Host, archives, listing, unpack
from tests.support.git_workspaces import ENVIRONMENT, Client, git, text

ASKED = (
    ("status", "--porcelain=v1", "-z"),
    ("log", "--format=%H %s"),
    ("rev-parse", "HEAD"),
    ("describe", "--tags", "--always"),
    ("diff",),
    ("diff", "--cached"),
    ("ls-files", "--stage", "-z"),
    ("ls-files", "-t", "-z"),
    ("tag",),
    ("submodule", "status"),
)
"""Questions to which a job's repository has the original's answers."""

Unpack = Callable[[Host, GitWorkspace, Path, CheckoutOptions], Path]


@pytest.fixture(params=[Host.checkout, Host.stack], ids=["tar", "layers"])
def unpacked(request: pytest.FixtureRequest) -> Unpack:
    """Both ways into a container."""
    way: Unpack = request.param
    return way


def answers(top: Path) -> dict[tuple[str, ...], bytes]:
    """What git says in a repository."""
    return {question: git(top, *question) for question in ASKED}


def check(host: Host, project: Path, ref: GitWorkspace, target: Path, unpacked: Unpack) -> Path:
    """A checkout has the project's files, and git's answers are the same in both."""
    made = unpacked(host, ref, target, FULL)
    assert listing(made) == listing(project)
    assert answers(made) == answers(project)
    assert git(made, "fsck", "--strict") == b""
    return made


def test_a_clean_checkout(host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack) -> None:
    made = check(host, project, client.workspace(project, depth=0), tmp_path / "out", unpacked)
    assert text(made, "status", "--porcelain") == ""
    assert text(made, "describe", "--tags").startswith("v1.0-2-g")
    assert text(made, "remote", "get-url", "origin") == "https://example.org/group/project.git"
    assert subprocess.run(["git", "-C", made, "symbolic-ref", "-q", "HEAD"], check=False).returncode == 1


def test_every_state_of_a_file(host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack) -> None:
    (project / "file0").write_text("modified\n")
    (project / "file1").unlink()
    (project / "file2").write_text("staged\n")
    git(project, "add", "file2")
    (project / "file2").write_text("staged, then modified\n")
    git(project, "rm", "-q", "--cached", "file3")
    (project / "untracked").write_text("new\n")
    (project / "intended").write_text("intended\n")
    git(project, "add", "-N", "intended")
    git(project, "update-index", "--skip-worktree", "src/module1.py")
    (project / "src" / "module1.py").unlink()
    (project / "src" / "module0.py").chmod(0o755)
    (project / "src" / "module2.py").unlink()
    os.symlink("module0.py", project / "src" / "module2.py")
    (project / "file4").unlink()
    (project / "file4").mkdir()
    (project / "file4" / "inner").write_text("a directory now\n")
    check(host, project, client.workspace(project, depth=0), tmp_path / "out", unpacked)


def test_unmerged_entries(host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack) -> None:
    git(project, "checkout", "-q", "-b", "other", "HEAD~1")
    (project / "file0").write_text("theirs\n")
    git(project, "commit", "-q", "-a", "-m", "theirs")
    git(project, "checkout", "-q", "main")
    (project / "file0").write_text("ours\n")
    git(project, "commit", "-q", "-a", "-m", "ours")
    merge = subprocess.run(["git", "-C", project, "merge", "other"], env=ENVIRONMENT, capture_output=True, check=False)
    assert merge.returncode == 1
    made = check(host, project, client.workspace(project, depth=0), tmp_path / "out", unpacked)
    assert b"UU file0" in git(made, "status", "--porcelain")


def test_a_file_that_git_considers_clean_though_its_bytes_differ(
    host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack
) -> None:
    (project / ".gitattributes").write_text("*.txt text eol=crlf\n")
    (project / "lines.txt").write_bytes(b"one\r\ntwo\r\n")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "lines")
    assert git(project, "cat-file", "blob", "HEAD:lines.txt") == b"one\ntwo\n"
    made = check(host, project, client.workspace(project, depth=0), tmp_path / "out", unpacked)
    assert (made / "lines.txt").read_bytes() == b"one\r\ntwo\r\n"


def test_a_repository_without_a_commit(host: Host, client: Client, tmp_path: Path, unpacked: Unpack) -> None:
    project = tmp_path / "fresh"
    git(tmp_path, "init", "-q", "-b", "topic/first", str(project))
    (project / "staged").write_text("staged\n")
    git(project, "add", "staged")
    (project / "new").write_text("new\n")
    made = unpacked(host, client.workspace(project), tmp_path / "out", FULL)
    assert listing(made) == listing(project)
    for question in (("status", "--porcelain"), ("symbolic-ref", "HEAD"), ("ls-files", "--stage")):
        assert git(made, *question) == git(project, *question)


def test_sha256_objects(host: Host, tmp_path: Path, unpacked: Unpack) -> None:
    client = Client(tmp_path / "client256", "sha256")
    host.client = client
    project = tmp_path / "sha256"
    git(tmp_path, "init", "-q", "--object-format=sha256", str(project))
    (project / "a").write_text("a\n")
    git(project, "add", "a")
    git(project, "commit", "-q", "-m", "a")
    git(project, "tag", "-a", "-m", "one", "one")
    (project / "a").write_text("changed\n")
    check(host, project, client.workspace(project, depth=0), tmp_path / "out", unpacked)


ODD = [b"new\nline", b"\xff\xfe no utf8", b"n" * 255, b"Case", b"cASE", b" space ", b'quo"te\\', b"-dash", b"tab\there"]


def test_odd_names_modes_links_and_empty_directories(
    host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack
) -> None:
    top = os.fsencode(project)
    for name in ODD:
        Path(os.fsdecode(os.path.join(top, name))).write_bytes(name)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "odd names")
    deep = project / "/".join(["deep" * 20] * 8)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    os.symlink("../" * 10 + "t" * 150, deep / "link")
    os.symlink("/absolute/target", project / "absolute")
    (project / "empty" / "inner").mkdir(parents=True)
    (project / "src" / "none").mkdir(mode=0o700)
    (project / "file0").chmod(0o600)
    (project / "file1").chmod(0o4750)
    modes = Modes(other={b"src/none": 0o700, b"file0": 0o600, b"file1": 0o4750})
    ref = client.workspace(project, depth=0, modes=modes, empty=[b"empty/inner", b"src/none"])
    check(host, project, ref, tmp_path / "out", unpacked)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6])
def test_a_limited_depth_is_that_of_git_clone(
    host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack, depth: int
) -> None:
    git(project, "checkout", "-q", "-b", "side", "HEAD~3")
    (project / "side").write_text("side\n")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "side")
    git(project, "checkout", "-q", "main")
    git(project, "merge", "-q", "-m", "merge", "side")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", f"--depth={depth}", f"file://{project}", str(clone))
    made = unpacked(host, client.workspace(project, depth=0), tmp_path / "out", CheckoutOptions(depth=depth))
    for question in (("log", "--format=%H"), ("rev-parse", "--is-shallow-repository"), ("status", "--porcelain")):
        assert git(made, *question) == git(clone, *question)
    found, expected = (
        sorted(path.read_text().split()) if path.exists() else []
        for path in (made / ".git" / "shallow", clone / ".git" / "shallow")
    )
    assert found == expected
    assert git(made, "fsck", "--strict") == b""


def test_a_workspace_of_a_shallow_clone(
    host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{project}", str(clone))
    check(host, clone, client.workspace(clone, depth=20), tmp_path / "out", unpacked)


def test_tags_and_branches_that_point_into_the_history(
    host: Host, client: Client, project: Path, tmp_path: Path
) -> None:
    git(project, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(project, "tag", "light", "HEAD~1")
    git(project, "tag", "-a", "-m", "nested", "nested", "v1.0")
    ref = client.workspace(project, depth=0, refs=["refs/remotes/origin/main"])
    made = host.checkout(ref, tmp_path / "full")
    assert git(made, "for-each-ref", "refs/tags", "refs/remotes") == git(
        project, "for-each-ref", "refs/tags", "refs/remotes"
    )
    made = host.checkout(ref, tmp_path / "shallow", CheckoutOptions(depth=2))
    assert text(made, "for-each-ref", "--format=%(refname)").split() == ["refs/remotes/origin/main", "refs/tags/light"]


def test_git_status_reads_no_file(host: Host, client: Client, project: Path, tmp_path: Path, unpacked: Unpack) -> None:
    made = unpacked(host, client.workspace(project), tmp_path / "out", FULL)
    for path in (made / "src" / "module1.py", made / "file0"):
        found = path.stat()
        path.write_bytes(b"X" * found.st_size)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert git(made, "diff-files") == b""
    assert git(made, "status", "--porcelain") == b""


def test_a_job_can_commit_and_switch(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    made = host.stack(client.workspace(project, depth=0), tmp_path / "out")
    (made / "file0").write_text("changed in a job\n")
    assert git(made, "status", "--porcelain") == b" M file0\n"
    git(made, "commit", "-q", "-a", "-m", "by a job")
    git(made, "checkout", "-q", "v1.0")
    assert not (made / "file4").exists()
    git(made, "checkout", "-q", "-")
    assert (made / "file0").read_text() == "changed in a job\n"


def test_without_files_only_git_is_there(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    for number, way in enumerate((Host.checkout, Host.stack)):
        made = way(host, client.workspace(project), tmp_path / str(number), CheckoutOptions(depth=0, files=False))
        assert os.listdir(made) == [".git"]
        git(made, "checkout", "-q", "-B", "main", "v1.0")
        assert (made / "file2").exists()


def test_owner_and_an_open_project(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    (project / "src" / "module0.py").chmod(0o755)
    checkout = host.workspace(client.workspace(project)).checkout(FULL)
    layers = checkout.layers((1000, 3_000_000), opened=True)
    made = unpack(archives(layers), tmp_path / "open")
    for path, (mode, _) in listing(made, without=()).items():
        found = os.lstat(os.path.join(os.fsencode(made), path))
        assert (found.st_uid, found.st_gid) == (1000, 3_000_000)
        assert mode & 0o777 in (0o666, 0o777), path
    assert (made.stat().st_mode & 0o777, made.stat().st_uid) == (0o777, 1000)
    assert not {one.key for one in layers} & {one.key for one in checkout.layers((0, 0), opened=True)}


def test_names_and_hashes_are_those_of_the_tar(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    os.symlink("file0", project / "link")
    os.symlink("link", project / "src" / "dangling")
    (project / "empty").mkdir()
    checkout = host.workspace(client.workspace(project, empty=[b"empty"])).checkout(FULL)
    tar = checkout.tar()
    outside = {name for name in tars.names(tar) if name != ".git" and not name.startswith(".git/")}
    assert checkout.names() == outside
    everything = checkout.hashes(lambda name: True)
    assert everything == tars.hash_files(tar, outside.__contains__)
    assert everything["file0"] == hashlib.sha256(b"content 0\n").hexdigest()
    assert checkout.hashes(lambda name: name == "link") == {"link": everything["link"]}
