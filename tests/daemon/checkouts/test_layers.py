"""Layers of successive snapshots: a shared base, and the difference to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.checkouts import plan
from daemon.executors.base import CheckoutOptions, Layer
from protocol.workspace import GitWorkspace, Manifest, Modes, RepositoryManifest
from tests.support.checkouts import FULL, Host, archives, listing, unpack
from tests.support.git_workspaces import Client, git, text


def layers(host: Host, ref: GitWorkspace, options: CheckoutOptions = FULL) -> Sequence[Layer]:
    """A checkout's layers."""
    return host.workspace(ref).checkout(options).layers((0, 0), opened=False)


def kinds(stack: Sequence[Layer]) -> list[str]:
    """What the layers are, lowest first."""
    return ["difference" if "-on-" in layer.key else layer.key.split("-")[0] for layer in stack]


def test_another_job_of_the_run_has_the_same_layers(host: Host, client: Client, project: Path) -> None:
    ref = client.workspace(project)
    first, second = layers(host, ref), layers(host, ref)
    assert [layer.key for layer in first] == [layer.key for layer in second]
    assert kinds(first) == ["files", "git", "index"]
    assert archives(first) == archives(second)


def test_a_changed_file_is_a_small_layer_on_the_same_base(
    host: Host, client: Client, project: Path, tmp_path: Path
) -> None:
    (project / "large").write_bytes(os.urandom(3 << 20))
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "large")
    first = layers(host, client.workspace(project))
    (project / "file1").write_text("changed\n")
    (project / "file2").unlink()
    (project / "new").mkdir()
    (project / "new" / "file").write_text("new\n")
    second = layers(host, client.workspace(project))
    assert kinds(second) == ["files", "difference", "git", "index"]
    assert [second[0].key, second[2].key] == [first[0].key, first[1].key]
    tars = archives(second)
    assert len(tars[1]) < 10_000
    made = unpack(tars, tmp_path / "out")
    assert listing(made) == listing(project)
    assert git(made, "status", "--porcelain") == git(project, "status", "--porcelain")


def test_a_new_commit_is_a_small_pack_on_the_same_history(
    host: Host, client: Client, project: Path, tmp_path: Path
) -> None:
    ref = client.workspace(project)
    first = layers(host, ref)
    for number in range(3):
        (project / "file0").write_text(f"commit on top {number}\n")
        git(project, "commit", "-q", "-a", "-m", f"top {number}")
        after = client.workspace(project, base=ref)
        second = layers(host, after)
        assert kinds(second) == ["files", "difference", "git", "git", "index"]
        assert second[2].key == first[1].key
        made = unpack(archives(second), tmp_path / str(number))
        assert git(made, "log", "--format=%H") == git(project, "log", "--format=%H")
        assert git(made, "fsck", "--strict") == b""


def test_a_shallow_history_moves_on(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    ref = client.workspace(project, depth=3)
    layers(host, ref, CheckoutOptions(depth=3))
    (project / "file0").write_text("on top\n")
    git(project, "commit", "-q", "-a", "-m", "on top")
    after = client.workspace(project, depth=3, base=ref)
    stack = layers(host, after, CheckoutOptions(depth=3))
    assert kinds(stack) == ["files", "difference", "git", "git", "index"]
    made = unpack(archives(stack), tmp_path / "out")
    assert git(made, "log", "--format=%s").split(b"\n")[:-1] == [b"on top", b"commit 4", b"commit 3"]
    assert git(made, "fsck", "--strict", "--no-dangling") == b""  # the base has an older commit


def test_a_history_with_a_shorter_way_to_old_commits_is_packed_anew(
    host: Host, client: Client, project: Path, tmp_path: Path
) -> None:
    """The base has three commits; a merge of all three reaches a fourth one within the depth."""
    ref = client.workspace(project, depth=3)
    layers(host, ref, CheckoutOptions(depth=3))
    parents = ("-p", "HEAD", "-p", "HEAD~1", "-p", "HEAD~2")
    git(project, "reset", "-q", "--soft", text(project, "commit-tree", "-m", "merge", *parents, "HEAD^{tree}"))
    after = client.workspace(project, depth=3, base=ref)
    stack = layers(host, after, CheckoutOptions(depth=3))
    assert kinds(stack) == ["files", "git", "index"]
    made = unpack(archives(stack), tmp_path / "out")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=3", f"file://{project}", str(clone))
    assert git(made, "log", "--format=%H") == git(clone, "log", "--format=%H")
    assert git(made, "fsck", "--strict") == b""


def test_a_large_difference_is_a_new_base(host: Host, client: Client, project: Path) -> None:
    for number in range(10):
        (project / f"large{number}").write_bytes(os.urandom(400 << 10))
    first = layers(host, client.workspace(project))
    for number in range(3):
        (project / f"large{number}").write_bytes(os.urandom(400 << 10))
    second = layers(host, client.workspace(project))
    assert kinds(second) == ["files", "git", "index"]
    assert second[0].key != first[0].key


def test_a_pack_that_is_just_the_history_is_taken_over(
    host: Host, client: Client, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SMALLEST_READY", 0)
    ref = client.workspace(project, depth=0)
    (kind,) = [layer for layer in layers(host, ref) if layer.key.startswith("git-")]
    own = b"".join(kind.archive())
    assert client.fetch(ref.packs[0]).read_bytes() in own
    made = host.stack(ref, tmp_path / "out")
    assert git(made, "log", "--format=%H") == git(project, "log", "--format=%H")
    git(project, "tag", "-d", "v1.0")
    (project / "file0").write_text("without the tag\n")
    git(project, "commit", "-q", "-a", "-m", "without the tag")
    made = host.stack(client.workspace(project, depth=0, base=ref), tmp_path / "without")
    assert git(made, "fsck", "--unreachable") == b""  # nothing of the tag
    made = host.stack(ref, tmp_path / "shallow", CheckoutOptions(depth=2))
    assert git(made, "fsck", "--unreachable") == b""
    assert text(made, "rev-list", "--count", "HEAD") == "2"


def test_a_job_gets_no_objects_of_other_runs(host: Host, client: Client, project: Path, tmp_path: Path) -> None:
    (project / "secret").write_text("of another run\n")
    git(project, "add", "secret")
    secret = text(project, "rev-parse", ":secret")
    first = client.workspace(project)
    made = host.stack(first, tmp_path / "first")
    assert git(made, "cat-file", "blob", secret) == b"of another run\n"
    git(project, "rm", "-q", "-f", "--cached", "secret")
    (project / "secret").unlink()
    git(project, "commit", "-q", "--allow-empty", "-m", "next")
    made = host.stack(client.workspace(project, base=first), tmp_path / "second")
    objects = text(made, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert secret not in objects
    assert git(made, "fsck", "--unreachable") == b""


NAMES = st.sampled_from([b"a", b"b", b"c.txt", b"\xff"])
MODES = (b"100644", b"100755", b"120000")
TREES = st.recursive(
    st.tuples(st.sampled_from(MODES), st.sampled_from([b"one", b"two", b"three" * 9])),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ROOTS = st.dictionaries(NAMES, TREES, max_size=4)
Node = tuple[bytes, bytes] | dict[bytes, "Node"]
SIDES = st.tuples(ROOTS, ROOTS, st.lists(NAMES, max_size=3, unique=True), st.sampled_from([0o644, 0o600]))
Side = tuple[dict[bytes, Node], dict[bytes, Node], list[bytes], int]


def tree_of(client: Client, node: Mapping[bytes, Node]) -> str:
    """The tree that a mapping describes."""
    lines = []
    for name, inner in node.items():
        if isinstance(inner, tuple):
            lines.append(b"%s blob %s\t%s" % (inner[0], client.blob(inner[1]).encode(), name))
        else:
            lines.append(b"040000 tree %s\t%s" % (tree_of(client, inner).encode(), name))
    return git(client.own, "mktree", "-z", told=b"".join(line + b"\0" for line in lines)).decode().strip()


def side(client: Client, content: Side) -> GitWorkspace:
    """A workspace of a tree on a commit of another one, with empty directories and the permissions of one file."""
    root, committed, empty, mode = content
    free = [name + b"/empty" for name in empty if name not in root]
    head = text(client.own, "commit-tree", "-m", "commit", tree_of(client, committed))
    modes = Modes(other={b"a": mode} if isinstance(root.get(b"a"), tuple) else {})
    manifest = RepositoryManifest(head=head, modes=modes, empty=[*free, *(each + b"/inner" for each in free[:1])])
    return client.packed(Manifest(repositories=[manifest]), [tree_of(client, root)])


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES)
def test_a_difference_over_a_base_is_the_whole(before: Side, after: Side) -> None:
    """Files, modes and index are those of a checkout that knows no base."""
    directory = Path(tempfile.mkdtemp())
    try:
        client = Client(directory / "client")
        host, fresh = Host(directory / "host", client), Host(directory / "fresh", client)
        layers(host, side(client, before))
        ref = side(client, after)
        stack, whole = host.stack(ref, directory / "stack"), fresh.checkout(ref, directory / "tar")
        assert listing(stack) == listing(whole)
        assert (stack / ".git" / "index").read_bytes() == (whole / ".git" / "index").read_bytes()
        assert git(stack, "fsck") == b""
    finally:
        shutil.rmtree(directory)
