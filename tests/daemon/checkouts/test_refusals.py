"""Workspaces that lie are refused with a reason, and leave nothing that a job could get."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from hashlib import sha1
from pathlib import Path

import msgspec
import pytest

from daemon.checkouts import git as checkout_git
from daemon.checkouts import objects, snapshot, trees
from daemon.checkouts.git import BadWorkspace
from daemon.executors.base import JobFailed
from protocol.workspace import GitWorkspace, IndexEntry, Manifest, RepositoryManifest
from tests.support.checkouts import FULL, Host
from tests.support.git_workspaces import Client, git, text


def raw_tree(client: Client, *entries: tuple[bytes, bytes, str]) -> str:
    """A tree of (mode, name, id), sound or not, that git did not check."""
    data = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(key) for mode, name, key in entries)
    return store(client, b"tree", data)


def store(client: Client, kind: bytes, data: bytes) -> str:
    """An object's id, once it is in the client's repository: git itself refuses to write a bad one."""
    whole = kind + b" %d\0" % len(data) + data
    key = sha1(whole).hexdigest()
    path = client.own / "objects" / key[:2] / key[2:]
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(zlib.compress(whole, 1))
    return key


def workspace(client: Client, tree: str, **manifest: object) -> GitWorkspace:
    """A workspace of one tree."""
    one = msgspec.structs.replace(RepositoryManifest(), **manifest)
    return client.packed(Manifest(repositories=[one]), [tree])


def refused(host: Host, ref: GitWorkspace, reason: str) -> None:
    """It is refused, each time."""
    for _ in range(2):
        with pytest.raises(JobFailed, match=reason):
            host.workspace(ref)


NAMES = [b"..", b".", b".git", b".GIT", b".Git"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [b"100644", b"40000", b"120000", b"160000"])
def test_a_bad_name(host: Host, client: Client, name: bytes, mode: bytes) -> None:
    blob = client.blob(b"x")
    inner = raw_tree(client, (b"100644", b"hooks", blob))
    bad = raw_tree(client, (mode, name, inner if mode == b"40000" else blob))
    refused(host, workspace(client, raw_tree(client, (b"40000", b"sub", bad))), "not allowed in a project directory")


@pytest.mark.parametrize("name", [b"a/b", b"/etc", b"../x", b"n" * 256])
def test_a_name_with_a_slash_or_too_long(host: Host, client: Client, name: bytes) -> None:
    refused(host, workspace(client, raw_tree(client, (b"100644", name, client.blob(b"x")))), "malformed|slash")


@pytest.mark.parametrize("data", [b"100644 a", b"100644 a\0short", b"999999 a\0" + bytes(20), b"100644 \0" + bytes(20)])
def test_a_malformed_tree(host: Host, client: Client, data: bytes) -> None:
    """git's own client would not pack it: it comes as a pack made by hand."""
    manifest = client.blob(msgspec.msgpack.encode(Manifest(repositories=[RepositoryManifest()])))
    bad = store(client, b"tree", data)
    top = raw_tree(client, (b"40000", b"0", bad), (b"100644", b"manifest", manifest))
    contents = [(2, data), (3, msgspec.msgpack.encode(Manifest(repositories=[RepositoryManifest()])))]
    top_data = b"40000 0\0" + bytes.fromhex(bad) + b"100644 manifest\0" + bytes.fromhex(manifest)
    refused(host, GitWorkspace(snapshot=top, packs=[client.add(pack(*contents, (2, top_data)))]), "malformed")


def pack(
    *contents: tuple[int, bytes], declared: int | None = None, deltas: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A pack of objects by git's type number; `declared` is the size that the last one claims to have.

    `deltas` are (base, delta) of further blobs.
    """
    out = b"PACK" + struct.pack(">II", 2, len(contents) + len(deltas))
    for number, (kind, data) in enumerate(contents):
        size = len(data) if declared is None or number < len(contents) - 1 else declared
        byte, size = kind << 4 | size & 15, size >> 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        out += bytes(head) + zlib.compress(data)
    for base, delta in deltas:
        start = bytes((7 << 4 | len(delta) & 15 | 0x80, len(delta) >> 4))
        out += start + sha1(b"blob %d\0" % len(base) + base).digest() + zlib.compress(delta)
    return out + sha1(out).digest()


def test_two_entries_of_one_name(host: Host, client: Client) -> None:
    inner = raw_tree(client, (b"100644", b"x", client.blob(b"x")))
    tree = raw_tree(client, (b"120000", b"a", client.blob(b"/etc")), (b"40000", b"a", inner))
    refused(host, workspace(client, tree), "two entries of one name")


def test_an_unknown_mode(host: Host, client: Client) -> None:
    refused(
        host, workspace(client, raw_tree(client, (b"010644", b"fifo", client.blob(b"x")))), "unknown mode|malformed"
    )


@pytest.mark.parametrize("target", [b".git", b".git/config", b"../.GIT/hooks/x", b"a/../.git", b"nul\0byte", b""])
def test_a_link_into_git(host: Host, client: Client, target: bytes) -> None:
    tree = raw_tree(client, (b"120000", b"link", client.blob(target)))
    refused(host, workspace(client, raw_tree(client, (b"40000", b"d", tree))), "symbolic link")


def test_an_endless_link(host: Host, client: Client) -> None:
    refused(host, workspace(client, raw_tree(client, (b"120000", b"l", client.blob(b"x" * 5000)))), "5000 bytes")


def test_missing_objects(host: Host, client: Client, project: Path) -> None:
    gone = "12" * 20
    (project / "file0").write_text("modified\n")
    whole = client.workspace(project)
    files = git(client.own, "ls-tree", whole.snapshot).decode()
    assert "\t0" in files
    refused(host, msgspec.structs.replace(whole, snapshot=gone), "missing")
    refused(host, msgspec.structs.replace(whole, packs=whole.packs[:1]), "missing")
    refused(host, msgspec.structs.replace(whole, packs=[]), "missing")
    refused(host, msgspec.structs.replace(whole, packs=whole.packs[1:]), "missing|unresolved|delta")
    host.workspace(whole)  # after all the refusals
    refused(host, msgspec.structs.replace(whole, packs=whole.packs[:1]), "missing")


@pytest.mark.parametrize("kind", [b"100644", b"40000", b"120000"])
def test_a_tree_with_an_entry_that_is_in_no_pack(host: Host, client: Client, kind: bytes) -> None:
    data = b"%s x\0" % kind + bytes(20)
    manifest = msgspec.msgpack.encode(Manifest(repositories=[RepositoryManifest()]))
    files, note = sha1(b"tree %d\0" % len(data) + data), sha1(b"blob %d\0" % len(manifest) + manifest)
    top = b"40000 0\0" + files.digest() + b"100644 manifest\0" + note.digest()
    ref = GitWorkspace(
        snapshot=sha1(b"tree %d\0" % len(top) + top).hexdigest(),
        packs=[client.add(pack((2, data), (3, manifest), (2, top)))],
    )
    refused(host, ref, "missing")


def test_objects_of_another_run_can_not_be_asked_for(host: Host, client: Client, project: Path) -> None:
    """Though the store has them: a workspace sees its own packs only."""
    (project / "file0").write_text("of another run\n")
    first = client.workspace(project)
    host.workspace(first)
    files = text(client.own, "rev-parse", f"{first.snapshot}:0")
    manifest = msgspec.msgpack.encode(Manifest(repositories=[RepositoryManifest()]))
    note = sha1(b"blob %d\0" % len(manifest) + manifest)
    top = b"40000 0\0" + bytes.fromhex(files) + b"100644 manifest\0" + note.digest()
    ref = GitWorkspace(
        snapshot=sha1(b"tree %d\0" % len(top) + top).hexdigest(), packs=[client.add(pack((3, manifest), (2, top)))]
    )
    refused(host, ref, "missing|rev-list")


def _cut(data: bytes) -> bytes:
    return data[:-30]


def _changed(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 0xFF]) + data[41:]


@pytest.mark.parametrize(
    "damage", [_cut, _changed, lambda data: b"", lambda data: data + b"more", lambda data: b"PACK" + data]
)
@pytest.mark.parametrize("number", [0, 1])
def test_a_damaged_pack(
    host: Host, client: Client, project: Path, damage: Callable[[bytes], bytes], number: int
) -> None:
    (project / "file0").write_text("modified\n")
    whole = client.workspace(project)
    bad = client.add(damage(client.fetch(whole.packs[number]).read_bytes()))
    packs = [*whole.packs[:number], bad, *whole.packs[number + 1 :]]
    refused(host, msgspec.structs.replace(whole, packs=packs), "git index-pack: ")
    assert not list((host.directory / "store" / "partial").iterdir())
    assert not list((host.directory / "store" / "sets").glob(f"*/pack-{bad.digest}"))
    host.workspace(whole)


@pytest.mark.parametrize("declared", [1 << 20, 1 << 50])
def test_a_blob_that_claims_to_be_huge(host: Host, client: Client, declared: int) -> None:
    packed = client.add(pack((3, b"small"), declared=declared))
    refused(host, GitWorkspace(snapshot="ab" * 20, packs=[packed]), "index-pack")


def test_a_delta_that_grows(host: Host, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 times the same 64 KiB: 4 MiB in a hundred bytes."""
    monkeypatch.setattr(trees, "MOST_BYTES", 1 << 20)
    base, result = bytes(1 << 16), bytes(1 << 22)
    sizes = b"\x80\x80\x04" + b"\x80\x80\x80\x02"  # of base and result, seven bits a byte
    delta = sizes + b"\x80" * 64  # each copies 64 KiB from the beginning
    file = sha1(b"blob %d\0" % len(result) + result).digest()
    tree = b"100644 file\0" + file
    manifest = msgspec.msgpack.encode(Manifest(repositories=[RepositoryManifest()]))
    note = sha1(b"blob %d\0" % len(manifest) + manifest).digest()
    top = b"40000 0\0" + sha1(b"tree %d\0" % len(tree) + tree).digest() + b"100644 manifest\0" + note
    grown = client.add(pack((3, base), (3, manifest), (2, tree), (2, top), deltas=[(base, delta)]))
    ref = GitWorkspace(snapshot=sha1(b"tree %d\0" % len(top) + top).hexdigest(), packs=[grown])
    refused(host, ref, "its files have more than")


def test_a_tree_that_repeats_itself(host: Host, client: Client) -> None:
    """Ten levels with ten times the same directory: 10^10 files in a few hundred bytes."""
    inner = raw_tree(client, *((b"100644", b"%d" % number, client.blob(b"x")) for number in range(10)))
    for _ in range(10):
        inner = raw_tree(client, *((b"40000", b"%d" % number, inner) for number in range(10)))
    refused(host, workspace(client, inner), "more than 1000000 files")


def test_files_that_are_too_large_together(host: Host, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_BYTES", 1 << 20)
    blob = client.blob(bytes(300 << 10))
    tree = raw_tree(client, *((b"100644", b"%d" % number, blob) for number in range(4)))
    refused(host, workspace(client, tree), "its files have more than")


def test_endless_directories(host: Host, client: Client) -> None:
    tree = raw_tree(client, (b"100644", b"x", client.blob(b"x")))
    for _ in range(20):
        tree = raw_tree(client, (b"40000", b"d" * 250, tree))
    refused(host, workspace(client, tree), "a path of more than 4000 bytes")


def test_nested_too_deep(host: Host, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "DEEPEST", 10)
    tree = raw_tree(client, (b"100644", b"x", client.blob(b"x")))
    for _ in range(12):
        tree = raw_tree(client, (b"40000", b"d", tree))
    refused(host, workspace(client, tree), "nested more than 10 deep")


def test_a_tree_of_endless_entries(host: Host, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LARGEST_OBJECT", 1000)
    blob = client.blob(b"x")
    tree = raw_tree(client, *((b"100644", b"%05d" % number, blob) for number in range(100)))
    refused(host, workspace(client, tree), "at most 1000 are allowed")


BAD_PATHS = [b"", b"/etc", b"../x", b"a/../b", b".git", b"a/.GIT/x", b"a//b", b"nul\0", b"./a", b"p" * 256]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_bad_path_in_the_manifest(host: Host, client: Client, path: bytes) -> None:
    tree = raw_tree(client, (b"100644", b"x", client.blob(b"x")))
    refused(host, workspace(client, tree, empty=[path]), "not allowed")
    refused(host, workspace(client, tree, index=[IndexEntry(path=path, mode=0)]), "not allowed")
    for inner in (RepositoryManifest(path=path, name=b"n"), RepositoryManifest(path=b"p", name=path)):
        manifest = Manifest(repositories=[RepositoryManifest(), inner])
        refused(host, client.packed(manifest, [tree, tree]), "not allowed")


@pytest.mark.parametrize(
    "name",
    [b"refs/stash", b"HEAD", b"refs/tags/../x", b"refs/tags/a\nb", b"refs/tags/a b", b"refs/remotes/up/x"],
)
def test_a_bad_ref(host: Host, client: Client, project: Path, name: bytes) -> None:
    head = text(project, "rev-parse", "HEAD")
    ref = client.workspace(project)
    manifest = Manifest(repositories=[RepositoryManifest(head=head, refs={name: head})])
    refused(host, client.packed(manifest, [text(client.own, "rev-parse", f"{ref.snapshot}:0")]), "it has a ref")


def test_other_lies_of_the_manifest(host: Host, client: Client) -> None:
    leaf = raw_tree(client, (b"100644", b"x", client.blob(b"x")))
    tree = raw_tree(client, (b"120000", b"link", client.blob(b"d")), (b"40000", b"d", leaf))

    def modules(*inner: RepositoryManifest) -> GitWorkspace:
        return client.packed(Manifest(repositories=[RepositoryManifest(), *inner]), [tree, *(leaf for _ in inner)])

    module = RepositoryManifest
    refused(host, workspace(client, tree, empty=[b"link/inner"]), "in the place of a file")
    refused(host, workspace(client, tree, empty=[b"d/x"]), "in the place of a file")
    refused(host, workspace(client, tree, branch="../x"), "branch")
    refused(host, workspace(client, tree, url="https://x\n[core]\n"), "control characters")
    refused(host, workspace(client, tree, index=[IndexEntry(path=b"x", mode=0o40000, id="12" * 20)]), "bad entry")
    refused(host, modules(module(path=b"link/m", name=b"m")), "in the place of other files")
    refused(host, modules(module(path=b"d", name=b"m")), "in the place of other files")
    refused(host, modules(module(path=b"m", name=b"m"), module(path=b"m", name=b"n")), "two submodules")
    refused(host, modules(module(path=b"m", name=b"m"), module(path=b"n", name=b"m")), "two submodules")
    refused(host, modules(module(path=b"m", name=b"m"), module(path=b"m/n", name=b"n")), "within another one")
    refused(host, modules(module(path=b"m", name=b"m"), module(path=b"n", name=b"m/objects")), "within that of another")
    refused(host, modules(module(path=b"m", name=b"m", parent=1)), "before its parent")
    refused(host, modules(module(path=b"m", name=b"m", parent=-1)), "before its parent")
    refused(host, workspace(client, tree, path=b"x"), "begins with a submodule")
    refused(host, client.packed(Manifest(repositories=[]), []), "0 repositories")
    refused(host, client.packed(Manifest(repositories=[RepositoryManifest()]), []), "no tree of repository 0")
    refused(host, client.packed(Manifest(repositories=[RepositoryManifest()]), [leaf, leaf]), "unknown part")


def test_a_manifest_that_is_none(host: Host, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LARGEST_MANIFEST", 1000)
    for data, reason in ((b"nonsense", "can't be read"), (bytes(2000), "2000 bytes")):
        top = raw_tree(client, (b"100644", b"manifest", client.blob(data)))
        out = git(client.own, "pack-objects", "--revs", "--stdout", "-q", told=f"{top}\n".encode())
        refused(host, GitWorkspace(snapshot=top, packs=[client.add(out)]), reason)
    top = raw_tree(client, (b"100644", b"other", client.blob(b"x")))
    out = git(client.own, "pack-objects", "--revs", "--stdout", "-q", told=f"{top}\n".encode())
    refused(host, GitWorkspace(snapshot=top, packs=[client.add(out)]), "no manifest")


def test_a_head_whose_history_is_missing(host: Host, client: Client, project: Path) -> None:
    whole = client.workspace(project, depth=2)
    lying = msgspec.structs.replace(whole, shallow=[])
    for way in ("tar", "layers"):
        checkout = host.workspace(lying).checkout(FULL)
        with pytest.raises(BadWorkspace, match=r"missing|rev-list|parse|read"):
            _ = checkout.tar() if way == "tar" else checkout.layers((0, 0), opened=False)


def test_a_host_without_git(
    host: Host, client: Client, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ref = client.workspace(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobFailed, match="this worker's host has no git: install it there"):
        host.workspace(ref)


def test_git_runs_without_the_hosts_configuration(
    host: Host, client: Client, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".gitconfig").write_text("[core\n")
    for name, value in (("HOME", tmp_path), ("GIT_DIR", tmp_path / "none"), ("GIT_OBJECT_DIRECTORY", tmp_path)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setitem(os.environ, "GIT_CONFIG_COUNT", "x")
    assert "HOME" in checkout_git.environment()
    host.checkout(client.workspace(project), tmp_path / "out")
