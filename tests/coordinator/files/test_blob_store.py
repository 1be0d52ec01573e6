"""A blob that can be read is whole and right, however it was sent, by however many, over however many restarts."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.files import blob_store
from coordinator.files.base import FinishedUpload
from coordinator.files.blob_store import BlobStore
from protocol.errors import ProtocolError

CONTENT = random.Random(7).randbytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


class Opened:
    """A blob store with a way to wait for its verifying thread."""

    def __init__(self, directory: Path) -> None:
        self._woken = threading.Semaphore(0)
        self.store = BlobStore(directory, self._woken.release)

    def finish(self) -> FinishedUpload:
        """Waits for one upload to be verified."""
        assert self._woken.acquire(timeout=60)
        (upload,) = self.store.finished()
        return upload


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "blobs")
    yield made
    made.store.close()


def send(store: BlobStore, content: bytes = CONTENT, *, digest: str = DIGEST, step: int = 70_000) -> None:
    """Sends all pieces in order; the last one starts the verification."""
    for offset in range(0, len(content), step):
        received = store.put(digest, len(content), offset, content[offset : offset + step])
        assert received == (offset + step if offset + step < len(content) else None)


def test_what_was_sent_in_pieces_is_read_in_ranges(opened: Opened) -> None:
    store = opened.store
    assert store.put(DIGEST, SIZE, 0, b"") == 0
    assert store.size(DIGEST) is None
    send(store)
    assert opened.finish() == FinishedUpload(DIGEST, SIZE)
    assert store.size(DIGEST) == SIZE
    assert store.read(DIGEST, 0, SIZE) == (CONTENT, SIZE)
    assert store.read(DIGEST, 1000, 10) == (CONTENT[1000:1010], SIZE)
    assert store.read(DIGEST, SIZE - 5, 100) == (CONTENT[-5:], SIZE)
    assert store.read(DIGEST, SIZE + 5, 100) == (b"", SIZE)
    assert store.put(DIGEST, SIZE, 0, CONTENT[:10]) == SIZE


def test_an_empty_blob_is_one(opened: Opened) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    assert opened.store.put(digest, 0, 0, b"") is None
    assert opened.finish().problem is None
    assert opened.store.read(digest, 0, 10) == (b"", 0)


def test_an_upload_goes_on_after_a_restart(opened: Opened, tmp_path: Path) -> None:
    assert opened.store.put(DIGEST, SIZE, 0, CONTENT[:100_000]) == 100_000
    again = Opened(tmp_path / "blobs")
    assert again.store.put(DIGEST, SIZE, 0, b"") == 100_000
    assert again.store.put(DIGEST, SIZE, 100_000, CONTENT[100_000:]) is None
    assert again.finish().problem is None
    again.store.close()


def test_an_upload_that_begins_again_after_its_partial_file_is_gone_is_hashed_anew(
    opened: Opened, tmp_path: Path
) -> None:
    wrong = bytes(100_000)
    assert opened.store.put(DIGEST, SIZE, 0, wrong) == 100_000
    (tmp_path / "blobs" / "partial" / DIGEST).unlink()
    send(opened.store, step=100_000)
    assert opened.finish().problem is None


def test_an_upload_is_synced_while_it_arrives(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    monkeypatch.setattr(blob_store, "SYNC_BYTES", 100_000)
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.set())
    assert opened.store.put(DIGEST, SIZE, 0, CONTENT[:100_000]) == 100_000
    assert synced.wait(60)
    assert opened.store.put(DIGEST, SIZE, 100_000, CONTENT[100_000:]) is None
    assert opened.finish().problem is None


def test_more_uploads_at_a_time_than_hashes_are_kept_are_whole_all_the_same(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_store, "MOST_HASHED", 2)
    contents = [random.Random(seed).randbytes(5000) for seed in range(6)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    for digest, content in zip(digests, contents, strict=True):
        assert opened.store.put(digest, 5000, 0, content[:3000]) == 3000
    for digest, content in zip(digests, contents, strict=True):
        assert opened.store.put(digest, 5000, 3000, content[3000:]) is None
        assert opened.finish().problem is None


def test_an_upload_that_was_complete_but_not_verified_is_verified_when_asked_for(tmp_path: Path) -> None:
    partial = tmp_path / "blobs" / "partial"
    partial.mkdir(parents=True)
    (partial / DIGEST).write_bytes(CONTENT)
    opened = Opened(tmp_path / "blobs")
    assert opened.store.put(DIGEST, SIZE, 0, b"") is None
    assert opened.finish().problem is None
    assert opened.store.read(DIGEST, 0, SIZE)[0] == CONTENT
    opened.store.close()


def test_repeated_and_missing_pieces_are_told_by_how_much_is_there(opened: Opened) -> None:
    store = opened.store
    assert store.put(DIGEST, SIZE, 50, CONTENT[50:60]) == 0
    assert store.put(DIGEST, SIZE, 0, CONTENT[:100]) == 100
    assert store.put(DIGEST, SIZE, 0, CONTENT[:100]) == 100
    assert store.put(DIGEST, SIZE, 50, CONTENT[50:150]) == 150
    assert store.put(DIGEST, SIZE, 200, CONTENT[200:300]) == 150
    assert store.put(DIGEST, SIZE, 150, CONTENT[150:]) is None
    assert opened.finish().problem is None
    assert store.read(DIGEST, 0, SIZE)[0] == CONTENT


@pytest.mark.parametrize("seed", range(5))
def test_peers_that_send_the_same_blob_help_each_other(opened: Opened, seed: int) -> None:
    chance, store = random.Random(seed), opened.store
    known = [0, 0, 0]
    while True:
        peer = chance.randrange(3)
        step = chance.randrange(1, 40_000)
        received = store.put(DIGEST, SIZE, known[peer], CONTENT[known[peer] : known[peer] + step])
        if received is None:
            break
        known[peer] = received
    assert opened.finish().problem is None
    assert store.read(DIGEST, 0, SIZE)[0] == CONTENT


def test_bytes_that_do_not_match_their_name_are_thrown_away(opened: Opened) -> None:
    store = opened.store
    wrong = CONTENT[:-1] + b"!"
    send(store, wrong)
    problem = opened.finish().problem
    assert problem is not None
    assert problem.code == "bad_request"
    assert store.size(DIGEST) is None
    send(store)
    assert opened.finish().problem is None


def test_a_disk_that_fails_at_the_end_keeps_what_was_sent(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        send(opened.store)
        problem = opened.finish().problem
    assert problem is not None
    assert problem.code == "unavailable"
    assert opened.store.put(DIGEST, SIZE, 0, b"") is None
    assert opened.finish().problem is None


def test_more_bytes_than_were_announced_are_refused(opened: Opened) -> None:
    store = opened.store
    with pytest.raises(ProtocolError, match="more than"):
        store.put(DIGEST, 10, 0, bytes(11))
    assert store.put(DIGEST, SIZE, 0, CONTENT[:100]) == 100
    with pytest.raises(ProtocolError, match="more than"):
        store.put(DIGEST, 50, 0, b"")
    for size, offset in ((-1, 0), (10, -5)):
        with pytest.raises(ProtocolError):
            store.put("ab" * 32, size, offset, b"x")


def test_a_damaged_blob_is_replaced_by_a_whole_one_and_a_whole_one_by_no_other(opened: Opened) -> None:
    send(opened.store)
    opened.finish()
    assert opened.store.put(DIGEST, 5, 0, b"wrong") is None
    assert opened.finish().problem is not None
    assert opened.store.size(DIGEST) == SIZE
    os.truncate(opened.store.path(DIGEST), 5)
    send(opened.store)
    assert opened.finish().problem is None
    assert opened.store.read(DIGEST, 0, SIZE) == (CONTENT, SIZE)


def test_a_blob_that_was_cut_off_on_the_disk_is_whole_again_after_the_next_upload(opened: Opened) -> None:
    send(opened.store)
    opened.finish()
    os.truncate(opened.store.path(DIGEST), 10)
    send(opened.store)
    assert opened.finish().problem is None
    assert opened.store.path(DIGEST).read_bytes() == CONTENT


def test_a_larger_upload_that_is_not_the_blob_leaves_it_alone(opened: Opened) -> None:
    send(opened.store)
    opened.finish()
    opened.store.put(DIGEST, SIZE + 1, 0, CONTENT + b"x")
    problem = opened.finish().problem
    assert problem is not None
    assert "was discarded" in str(problem)
    assert opened.store.path(DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("digest", ["", "../" * 20, "A" * 64, "a" * 63, "a" * 64 + "\n", "/" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(opened: Opened, digest: str) -> None:
    for use in (
        lambda: opened.store.put(digest, 1, 0, b"x"),
        lambda: opened.store.read(digest, 0, 1),
        lambda: opened.store.size(digest),
    ):
        with pytest.raises(ProtocolError):
            use()


def test_an_unknown_blob_is_not_found(opened: Opened) -> None:
    with pytest.raises(ProtocolError, match="no blob") as caught:
        opened.store.read(DIGEST, 0, 1)
    assert caught.value.code == "not_found"
