"""Mirrors of real git servers: with a password that is seen nowhere, within limits, and after a launcher's death."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.errors import LongshoreError
from protocol.projects import MergeRequest
from team import git as team_git
from team import mirrors
from team.git import Access, Ended, Git, GitFailed
from team.mirrors import Mirror, ask, parse, remove_others
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.git_servers import PASSWORD, USER, HttpsGit, stalling_server
from tests.system.test_projects import Origin

PROJECT = "group/app"


@pytest.fixture
def git() -> Iterator[Git]:
    made = Git()
    yield made
    made.end()


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


def test_a_mirror_follows_its_repository_also_backwards_and_in_another_object_format(
    git: Git, origin: Origin, tmp_path: Path
) -> None:
    first = origin.push("One", a="1")
    origin.git("tag", "-a", "v1", "-m", "of one")
    origin.git("push", "-q", str(origin.bare), "v1", "HEAD:gone")
    mirror = Mirror(git, tmp_path / "mirrors", PROJECT)
    mirror.update(Access(str(origin.bare)))
    assert (mirror.refs.branches, mirror.refs.default_branch) == ({"main": first, "gone": first}, "main")
    assert (mirror.peeled("v1"), mirror.commit(mirror.refs.tags["v1"]), mirror.commit(first[:12])) == (first,) * 3
    origin.git("push", "-q", str(origin.bare), ":gone")
    origin.git("checkout", "-q", "--orphan", "anew")
    other = origin.push("Anew", a="2")
    origin.git("symbolic-ref", "HEAD", "refs/heads/main")
    mirror.update(Access(str(origin.bare)))
    assert mirror.refs.branches == {"main": other}
    assert mirror.commit(first) == first  # the last push's changes are found with it
    assert mirror.changed(first, other) == ["a"]
    assert mirror.merge_base(first, other) == mirror.commit("1" * 40) == mirror.commit("main") == ""
    assert mirror.changed("1" * 40, other) is None
    assert (mirror.message(other), mirror.author(other)) == ("Anew", "Ann Other <ann@example.org>")
    (tmp_path / "mirrors" / "group%2Fother.git").mkdir()
    remove_others(tmp_path / "mirrors", [PROJECT])
    assert [path.name for path in (tmp_path / "mirrors").iterdir()] == ["group%2Fapp.git"]

    shutil.rmtree(origin.bare)
    shutil.rmtree(origin.clone / ".git")
    subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", "-b", "trunk", origin.bare], check=True)
    origin.git("init", "-q", "--object-format=sha256")
    sha256 = origin.push("Longer", "HEAD:trunk")
    mirror.update(Access(str(origin.bare)))
    assert (mirror.refs.branches, mirror.refs.default_branch) == ({"trunk": sha256}, "trunk")


def test_a_merge_request_is_fetched_by_its_ref_and_nothing_but_a_ref(git: Git, origin: Origin, tmp_path: Path) -> None:
    origin.push("One")
    mirror = Mirror(git, tmp_path / "mirrors", PROJECT)
    access = Access(str(origin.bare))
    mirror.update(access)
    asked = origin.push("Theirs", "HEAD:refs/pull/7/head")
    assert mirror.commit(asked) == ""
    request = MergeRequest(iid="7", source_branch="x", target_branch="main", fetch_ref="refs/pull/7/head")
    mirror.fetch_merge_request(access, request)
    assert mirror.commit(asked) == mirror.at_merge_request(request) == asked
    for bad in ("--upload-pack=touch x", "refs/heads/*", "+refs/heads/main", "refs/../x"):
        with pytest.raises(GitFailed, match="is no ref"):
            mirror.fetch_commit(access, bad, "x")
    fork = MergeRequest(iid="8", source_branch="x", target_branch="main", source_project_url=str(origin.bare))
    with pytest.raises(LongshoreError, match="no address"):  # a file of this host is none
        mirror.fetch_merge_request(access, fork)


def test_a_server_gets_its_password_which_is_in_no_argument_no_file_and_no_message(
    git: Git, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.push("One")
    authority = Authority(tmp_path / "authority")
    monkeypatch.setenv("GIT_SSL_CAINFO", str(authority.file))
    server = HttpsGit(origin.bare.parent, authority)
    url = f"{server.address}/app.git"
    mirror = Mirror(git, tmp_path / "mirrors", PROJECT)
    seen: list[str] = []
    start = git._start

    def recorded(command: list[str], *rest: object) -> object:
        seen.extend(command)
        return start(command, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(git, "_start", recorded)
    mirror.update(Access(url, f"{USER}:{PASSWORD}"))
    assert mirror.refs.branches == {"main": commit}
    with pytest.raises(GitFailed, match=r"(?s)ls-remote.*Authentication failed") as caught:
        mirror.update(Access(url, "wrong-token"))
    files = [path for path in (tmp_path / "mirrors").rglob("*") if path.is_file()]
    assert files
    for secret in (PASSWORD, "wrong-token"):
        assert secret not in " ".join(seen) + str(caught.value) + repr(Access(url, secret))
        assert all(secret.encode() not in path.read_bytes() for path in files)
    server.close()
    with pytest.raises(GitFailed, match="ls-remote"):
        ask(git, Access("ext::sh -c true"))


def test_a_server_that_says_nothing_and_a_pack_that_never_ends_are_given_up(
    git: Git, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stalling_server() as port:
        with pytest.raises(GitFailed, match="took longer than 1 s"):
            git.run(None, "ls-remote", "--", f"http://127.0.0.1:{port}/x", seconds=1)
        failed: list[Exception] = []

        def hang() -> None:
            try:
                ask(git, Access(f"http://127.0.0.1:{port}/x"))
            except LongshoreError as error:
                failed.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        eventually(lambda: git._running)
        git.end()
        thread.join()
    assert isinstance(failed[0], Ended)
    with pytest.raises(Ended):
        git.run(None, "version")
    (origin.clone / "large").write_bytes(os.urandom(4 << 20))
    origin.push("Large")
    monkeypatch.setattr(team_git, "LARGEST_PACK", 1 << 20)
    mirror = Mirror(Git(), tmp_path / "mirrors", PROJECT)
    with pytest.raises(GitFailed, match="fetch"):
        mirror.update(Access(str(origin.bare)))
    monkeypatch.undo()
    mirror.update(Access(str(origin.bare)))
    assert mirror.refs.branches.keys() == {"main"}


def test_what_a_killed_launcher_has_left_neither_blocks_nor_breaks_a_mirror(
    git: Git, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.push("One")
    mirror = Mirror(git, tmp_path / "mirrors", PROJECT)
    mirror.path.mkdir(parents=True)
    (mirror.path / "HEAD").write_text("ref: half made")
    mirror.update(Access(str(origin.bare)))
    for name in ("packed-refs.lock", "refs/heads/main.lock"):
        (mirror.path / name).parent.mkdir(exist_ok=True, parents=True)
        (mirror.path / name).touch()
    commit = origin.push("Two")
    mirror.update(Access(str(origin.bare)))
    assert mirror.refs.branches == {"main": commit}
    monkeypatch.setattr(mirrors, "LOCK_SECONDS", 0.0)
    with (mirror.path / mirrors.LOCK).open("a") as busy:  # git, which an earlier launcher has started
        fcntl.flock(busy, fcntl.LOCK_EX)
        with pytest.raises(GitFailed, match="earlier launcher"):
            mirror.update(Access(str(origin.bare)))


def test_refs_with_names_that_git_does_not_take_are_left_out() -> None:
    one, other = "1" * 40, "2" * 40
    listed = f"ref: refs/heads/trunk\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/trunk\n{one}\trefs/heads/../x\n"
    listed += f"{other}\trefs/tags/v1\n{one}\trefs/tags/v1^{{}}\n{one}\trefs/pull/1/head\nnoise\n"
    refs = parse(listed)
    assert (refs.branches, refs.tags, refs.default_branch) == ({"trunk": one}, {"v1": other}, "trunk")
