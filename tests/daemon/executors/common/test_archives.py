"""Archives that go in are joined without a parse; what is no archive of files is refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from daemon.executors.common.archives import Place, groundwork, hash_files, joined, names
from daemon.tar_stream import ROOT, BadArchive, Owner
from tests.support.docker_jobs import tar_of

LONG = "long/" + "n" * 120 + "/é" + "x" * 120


def members(pieces: bytes) -> dict[str, tarfile.TarInfo]:
    """What a reader finds."""
    with tarfile.open(fileobj=io.BytesIO(pieces)) as tar:
        return {member.name: member for member in tar}


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zstd in parts": lambda data: zstandard.compress(data[:5000]) + zstandard.compress(data[5000:]),
}


@pytest.mark.parametrize("form", PACKED)
def test_joined_archives_are_one_archive_in_order_however_compressed(tmp_path: Path, form: str) -> None:
    first = tar_of(tmp_path / "1.tar", {"a": "one", LONG: "x" * 700, "empty/": "", "none": ""})
    second = tar_of(tmp_path / "2.tar", {"a": "two", "big": "y" * 3_000_000})
    second.write_bytes(PACKED[form](second.read_bytes()))
    joint = b"".join(joined([first, second], Place(ROOT)))
    with tarfile.open(fileobj=io.BytesIO(joint)) as tar:
        read = [(member.name, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]
    assert read == [
        ("a", b"one"), (LONG, b"x" * 700), ("empty", b""), ("none", b""), ("a", b"two"), ("big", b"y" * 3_000_000),
    ]  # fmt: skip


def test_for_another_owner_all_is_his_and_directories_are_there(tmp_path: Path) -> None:
    first = tar_of(tmp_path / "1.tar", {"dir/sub/file": "x", LONG: "y"})
    second = tar_of(tmp_path / "2.tar", {"dir/other": "x"})
    found = members(b"".join(joined([first, second], Place(Owner(1000, 50)))))
    assert list(found) == ["dir", "dir/sub", "dir/sub/file", "long", "long/" + "n" * 120, LONG, "dir/other"]
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 50)}


def test_the_groundwork_is_for_its_owner_alone() -> None:
    found = members(b"".join(groundwork("/builds/p", {"/builds/p.tmp/KEY": "é"}, Owner(7, 8))))
    assert {name: (member.mode, member.uid, member.gid) for name, member in found.items()} == {
        "builds/p": (0o755, 7, 8),
        "builds/p.tmp": (0o700, 7, 8),
        "builds/p.tmp/KEY": (0o600, 7, 8),
    }


def test_names_and_hashes_are_without_a_leading_dot(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "t.tar.gz", {"./a": "x", "b/c": ""}, mode="w:gz")
    assert names(path) == {"a", "b/c"}
    assert hash_files(path, {"a", "missing"}.__contains__).keys() == {"a"}


def broken(path: Path) -> bytes:
    """A whole archive."""
    return tar_of(path, {"a": "x" * 2000}).read_bytes()


@pytest.mark.parametrize("owner", [ROOT, Owner(1, 1)])
@pytest.mark.parametrize(
    "damage",
    ["empty", "cut", "cut between members", "noise", "gzip", "zstd", "zstd's checksum", "zstd's window", "device"],
)
def test_what_is_no_whole_archive_of_files_is_refused(tmp_path: Path, damage: str, owner: Owner) -> None:
    path = tmp_path / "broken.tar"
    whole = broken(tmp_path / "whole.tar")
    if damage == "empty":
        path.touch()
    elif damage == "cut":
        path.write_bytes(whole[:1500])
    elif damage == "cut between members":
        path.write_bytes(whole[: 512 + 2048])
    elif damage == "zstd":
        path.write_bytes(zstandard.compress(os.urandom(300_000) + whole)[:250_000])
    elif damage == "zstd's checksum":
        packed = zstandard.ZstdCompressor(write_checksum=True).compress(whole)
        path.write_bytes(packed[:-4] + bytes(4))
    elif damage == "zstd's window":
        large = zstandard.ZstdCompressionParameters(window_log=24)
        path.write_bytes(zstandard.ZstdCompressor(compression_params=large).compressobj().compress(whole * 3000))
    elif damage == "noise":
        path.write_bytes(bytes(range(256)) * 8)
    elif damage == "gzip":
        path.write_bytes(gzip.compress(whole)[:-20])
    else:
        with tarfile.open(path, "w") as tar:
            device = tarfile.TarInfo("null")
            device.type = tarfile.CHRTYPE
            tar.addfile(device)
    with pytest.raises(BadArchive, match=r"broken\.tar"):
        b"".join(joined([path], Place(owner)))
