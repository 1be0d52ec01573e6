"""The cache of blobs: whole files only, bounded, and never taken from under a job."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from daemon.upstream.blob_cache import BlobCache, Corrupt


def put(cache: BlobCache, content: bytes, attempt: str = "1.1") -> str:
    digest = hashlib.sha256(content).hexdigest()
    with cache.receive(digest) as partial:
        partial.write(content[:3])
        partial.write(content[3:])
        partial.pin(attempt)
    return digest


def test_a_blob_that_was_put_in_is_found_with_its_bytes(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000, "w1")
    digest = put(cache, b"content")
    path = cache.pin("2.1", digest, 7)
    assert path is not None
    assert path.read_bytes() == b"content"
    assert cache.pin("2.1", "00" * 32) is None


def test_wrong_bytes_never_become_a_blob(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000, "w1")
    with cache.receive("00" * 32) as partial:
        partial.write(b"x")
        with pytest.raises(Corrupt):
            partial.pin("1.1")
    assert cache.pin("1.1", "00" * 32) is None
    assert not list(tmp_path.joinpath("partial").iterdir())


def test_a_blob_that_was_cut_short_by_a_power_failure_is_not_used(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000, "w1")
    digest = put(cache, b"content")
    cache.release("1.1")
    os.truncate(next(tmp_path.joinpath("blobs").glob("*/*")), 3)
    assert cache.pin("2.1", digest, 7) is None
    assert put(cache, b"content") == digest
    assert cache.pin("2.1", digest, 7) is not None


def test_a_blob_that_was_put_elsewhere_stays_for_other_jobs_only(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000, "w1")
    digest = put(cache, b"content", "1.1")
    other = cache.pin("2.1", digest)
    cache.drop("1.1", digest)
    assert cache.pin("3.1", digest) is None
    assert other is not None
    assert other.read_bytes() == b"content"
    cache.release("2.1")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_least_recently_used_goes_first_and_what_a_job_uses_stays(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 100, "w1")
    old, used, held = put(cache, b"a" * 30, "1.1"), put(cache, b"b" * 30, "1.1"), put(cache, b"c" * 30, "keep")
    for age, digest in enumerate((held, old, used)):
        os.utime(next(tmp_path.joinpath("blobs").glob(f"*/{digest}")), (age, age))
    cache.release("1.1")
    put(cache, b"d" * 30, "2.1")
    assert cache.pin("3.1", old) is None
    assert cache.pin("3.1", used) is not None
    assert cache.pin("3.1", held) is not None


def test_a_blob_larger_than_the_limit_serves_its_job_and_goes_then(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 10, "w1")
    digest = put(cache, b"x" * 50, "1.1")
    path = cache.pin("1.1", digest)
    assert path is not None
    assert path.stat().st_size == 50
    cache.release("1.1")
    put(cache, b"y", "2.1")
    assert cache.pin("3.1", digest) is None


def test_what_nobody_has_used_for_long_goes_if_that_is_asked_for(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 1000, "w1", keep_for=3600.0)
    old, held, new = (put(cache, content, f"{number}.1") for number, content in enumerate([b"old", b"held", b"new"]))
    cache.release("0.1")
    cache.release("2.1")
    for digest in (old, held):
        os.utime(tmp_path / "blobs" / digest[:2] / digest, (1000, 1000))
    BlobCache(tmp_path, 1000, "w2").trim()
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 3
    cache.trim()
    assert [cache.pin("9.1", digest) is not None for digest in (old, held, new)] == [False, True, True]


def test_workers_that_share_a_directory_do_not_take_files_from_each_other(tmp_path: Path) -> None:
    one, two = BlobCache(tmp_path, 50, "w1"), BlobCache(tmp_path, 50, "w2")
    digest = put(one, b"a" * 30, "1.1")
    for number in range(5):
        put(two, bytes([number]) * 30, f"{number}.1")
        two.release(f"{number}.1")
    pinned = one.pin("1.1", digest)
    assert pinned is not None
    assert pinned.read_bytes() == b"a" * 30


def test_what_a_killed_worker_had_pinned_is_let_go_at_its_next_start(tmp_path: Path) -> None:
    put(BlobCache(tmp_path, 1000, "w1"), b"content", "1.1")
    (tmp_path / "partial" / "old").write_bytes(b"x")
    os.utime(tmp_path / "partial" / "old", (0, 0))
    cache = BlobCache(tmp_path, 1000, "w1")
    cache.clean_up()
    assert next(tmp_path.joinpath("blobs").glob("*/*")).stat().st_nlink == 1
    assert not list(tmp_path.joinpath("partial").iterdir())


def test_what_is_no_digest_is_neither_given_nor_removed(tmp_path: Path) -> None:
    """A worker that was taken over names its artifacts; other workers ask their caches for what it has named."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"of the host")
    cache = BlobCache(tmp_path / "cache", 1000, "w1")
    for digest in (str(victim), f"../../../{victim.name}"):
        for size in (1, len(b"of the host")):
            with pytest.raises(Corrupt, match="not a blob's digest"):
                cache.pin("1.1", digest, size)
    assert victim.read_bytes() == b"of the host"


@pytest.mark.parametrize("odd", ["directory", "file for a directory", "link to nowhere"])
def test_what_somebody_else_has_put_into_the_place_of_a_blob_makes_room_for_it(tmp_path: Path, odd: str) -> None:
    cache = BlobCache(tmp_path, 1000, "w1")
    digest = hashlib.sha256(b"content").hexdigest()
    place = tmp_path / "blobs" / digest[:2] / digest
    if odd == "directory":
        (place / "garbage").mkdir(parents=True)
    elif odd == "file for a directory":
        place.parent.write_text("garbage")
    else:
        place.parent.mkdir()
        place.symlink_to("nowhere")
    assert cache.pin("1.1", digest, 7) is None
    assert put(cache, b"content", "1.1") == digest
    found = cache.pin("2.1", digest, 7)
    assert found is not None
    assert found.read_bytes() == b"content"


def test_garbage_in_the_cache_keeps_nothing_from_being_evicted(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 100, "w1")
    (tmp_path / "blobs" / "zz" / "directory" / "deep").mkdir(parents=True)
    (tmp_path / "partial" / "directory").mkdir()
    (tmp_path / "jobs" / "w1" / "file").write_text("garbage")
    cache.clean_up()
    old = put(cache, b"x" * 80, "1.1")
    os.utime(tmp_path / "blobs" / old[:2] / old, (0, 0))
    os.utime(tmp_path / "blobs" / "zz" / "directory", (0, 0))
    cache.release("1.1")
    new = put(cache, b"y" * 80, "2.1")
    assert cache.pin("3.1", old) is None
    assert cache.pin("3.1", new) is not None


def test_a_cache_that_somebody_has_removed_is_made_again(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 1000, "w1")
    put(cache, b"content")
    shutil.rmtree(tmp_path / "cache")
    digest = put(cache, b"content", "2.1")
    assert cache.pin("3.1", digest, 7) is not None
