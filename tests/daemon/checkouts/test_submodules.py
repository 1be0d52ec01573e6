"""Submodules in a job, by GIT_SUBMODULE_STRATEGY and its companions."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.executors.base import CheckoutOptions
from protocol.workspace import GitWorkspace
from tests.support.checkouts import Host, listing
from tests.support.git_workspaces import Client, git, text

NONE, NORMAL, RECURSIVE = (
    CheckoutOptions(depth=0, submodule_depth=0, submodules=strategy) for strategy in ("none", "normal", "recursive")
)


def status(top: Path) -> list[bytes]:
    """`git submodule status` without the name of a ref near the commit: a job has other refs."""
    return [line.partition(b" (")[0] for line in git(top, "submodule", "status", "--recursive").splitlines()]


@pytest.fixture
def nested(template: Path, tmp_path: Path) -> Path:
    """A project with the submodules `lib/one`, which has a submodule of its own, and `two`."""
    for name, inner in (("leaf", None), ("one", "leaf"), ("two", None)):
        path = tmp_path / "origin" / name
        path.mkdir(parents=True)
        git(path, "init", "-q")
        (path / name).write_text(f"{name}\n")
        if inner:
            git(path, "submodule", "--quiet", "add", str(tmp_path / "origin" / inner), f"deep/{inner}")
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", f"first of {name}")
        git(path, "commit", "-q", "--allow-empty", "-m", f"second of {name}")
    project = tmp_path / "nested"
    git(tmp_path, "clone", "-q", str(template), str(project))
    git(project, "submodule", "--quiet", "add", str(tmp_path / "origin" / "one"), "lib/one")
    git(project, "submodule", "--quiet", "add", str(tmp_path / "origin" / "two"), "two")
    git(project, "commit", "-q", "-m", "submodules")
    git(project, "submodule", "--quiet", "update", "--init", "--recursive")
    return project


@pytest.fixture
def ref(client: Client, nested: Path) -> GitWorkspace:
    return client.workspace(nested, depth=0)


@pytest.mark.parametrize("way", [Host.checkout, Host.stack])
def test_all_submodules(host: Host, nested: Path, ref: GitWorkspace, tmp_path: Path, way: object) -> None:
    made = way(host, ref, tmp_path / "out", RECURSIVE)  # type: ignore[operator]
    assert status(made) == status(nested)
    assert git(made, "status", "--porcelain") == b""
    for path in (".", "lib/one", "lib/one/deep/leaf", "two"):
        assert git(made / path, "log", "--format=%H") == git(nested / path, "log", "--format=%H")
        assert git(made / path, "fsck", "--strict") == b""
    files = {path: found for path, found in listing(made).items() if not path.endswith(b".git")}
    assert files == {path: found for path, found in listing(nested).items() if not path.endswith(b".git")}
    assert git(made / "two", "remote", "get-url", "origin") == git(nested / "two", "remote", "get-url", "origin")


def test_strategy_normal_leaves_out_nested_ones(host: Host, ref: GitWorkspace, tmp_path: Path) -> None:
    made = host.stack(ref, tmp_path / "out", NORMAL)
    assert [line[:1] for line in status(made)] == [b" ", b"-", b" "]
    assert git(made / "lib" / "one", "submodule", "status").startswith(b"-")
    assert list((made / "lib" / "one" / "deep" / "leaf").iterdir()) == []
    assert (made / "two" / "two").read_text() == "two\n"
    assert git(made, "status", "--porcelain") == b""


def test_strategy_none_leaves_empty_directories(host: Host, ref: GitWorkspace, tmp_path: Path) -> None:
    made = host.stack(ref, tmp_path / "out", NONE)
    assert [line[:1] for line in git(made, "submodule", "status").splitlines()] == [b"-", b"-"]
    assert list((made / "two").iterdir()) == list((made / "lib" / "one").iterdir()) == []
    assert git(made, "status", "--porcelain") == b""
    assert not (made / ".git" / "modules").exists()


@pytest.mark.parametrize(
    ("paths", "expected"),
    [(("two",), {"two"}), (("lib",), {"lib/one"}), ((":(exclude)two",), {"lib/one"}), (("l*", ":!lib/one"), set())],
)
def test_submodule_paths(
    host: Host, ref: GitWorkspace, tmp_path: Path, paths: tuple[str, ...], expected: set[str]
) -> None:
    options = CheckoutOptions(depth=0, submodules="normal", submodule_paths=paths)
    made = host.stack(ref, tmp_path / "out", options)
    assert {name for name in ("two", "lib/one") if list((made / name).iterdir())} == expected


def test_submodule_depth(host: Host, ref: GitWorkspace, tmp_path: Path) -> None:
    options = CheckoutOptions(depth=0, submodules="normal", submodule_depth=1)
    made = host.stack(ref, tmp_path / "out", options)
    assert text(made / "two", "rev-list", "--count", "HEAD") == "1"
    assert int(text(made, "rev-list", "--count", "HEAD")) == 6


def test_changes_in_a_submodule(host: Host, client: Client, nested: Path, ref: GitWorkspace, tmp_path: Path) -> None:
    first = host.workspace(ref).checkout(RECURSIVE).layers((0, 0), opened=False)
    (nested / "two" / "two").write_text("changed\n")
    (nested / "two" / "new").write_text("new\n")
    git(nested / "lib" / "one", "commit", "-q", "--allow-empty", "-m", "third")
    after = client.workspace(nested, depth=0, base=ref)
    second = host.workspace(after).checkout(RECURSIVE).layers((0, 0), opened=False)
    assert first[0].key == second[0].key
    made = host.stack(after, tmp_path / "out", RECURSIVE)
    assert git(made, "status", "--porcelain") == git(nested, "status", "--porcelain") != b""
    assert git(made / "two", "status", "--porcelain") == git(nested / "two", "status", "--porcelain") != b""
    assert status(made) == status(nested)
    assert git(made / "lib" / "one", "fsck") == b""
