"""Replies as every client takes them: errors as exceptions, and blobs that are whole or not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from protocol import messages as m
from protocol.errors import LongshoreError, UsageError
from protocol.replies import IncomingBlob, expected, refusal

DATA = b"0123456789"
DIGEST = hashlib.sha256(DATA).hexdigest()


def arrive(path: Path, *pieces: bytes, digest: str = DIGEST, size: int = len(DATA)) -> list[int]:
    """Takes these pieces of a blob; returns the offsets that were asked for."""
    offsets: list[int] = []
    with IncomingBlob(digest, path, "tcp://c:1") as blob:
        for piece in pieces:
            assert not blob.complete
            offsets.append(blob.next_piece()["offset"])
            blob.take(m.BlobData(id=1, digest=digest, size=size, offset=offsets[-1]), piece)
    return offsets


def test_a_blob_in_pieces_is_asked_for_in_order_and_appears_whole(tmp_path: Path) -> None:
    assert arrive(tmp_path / "blob", DATA[:4], DATA[4:]) == [0, 4]
    assert (tmp_path / "blob").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_an_empty_blob_takes_one_request(tmp_path: Path) -> None:
    assert arrive(tmp_path / "blob", b"", digest=hashlib.sha256(b"").hexdigest(), size=0) == [0]
    assert (tmp_path / "blob").read_bytes() == b""


@pytest.mark.parametrize(
    ("pieces", "message"),
    [((b"0123", b"xxxxxx"), "arrived damaged from tcp://c:1"), ((b"0123", b""), "tcp://c:1 sent no bytes")],
)
def test_a_damaged_or_stuck_blob_is_told_and_leaves_the_old_file(
    tmp_path: Path, pieces: tuple[bytes, ...], message: str
) -> None:
    (tmp_path / "blob").write_bytes(b"old")
    with pytest.raises(LongshoreError, match=message):
        arrive(tmp_path / "blob", *pieces)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("blob", b"old")]


def test_a_blob_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    assert arrive(tmp_path / "blob", DATA[:4]) == [0]
    assert list(tmp_path.iterdir()) == []


def test_only_errors_that_the_caller_can_mend_are_usage_errors() -> None:
    assert isinstance(refusal(m.Error(code="not_found", message="no run 7")), UsageError)
    assert not isinstance(refusal(m.Error(code="unavailable", message="disk full")), UsageError)


def test_a_reply_of_another_type_names_both_and_the_coordinator() -> None:
    welcome = m.Welcome(protocol=1, coordinator="c", epoch="e", feed="")
    with pytest.raises(LongshoreError, match="tcp://c:1 answered BlobGet with Welcome"):
        expected(welcome, m.BlobData, m.BlobGet, "tcp://c:1")
