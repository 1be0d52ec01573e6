"""An archive's note is read without the archive, and readers of the archive do not see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.executors.common import archive_note
from daemon.executors.common.archive_members import ArchiveWriter
from daemon.executors.common.archive_note import Note
from daemon.executors.common.archives import check, names
from daemon.tar_stream import Member
from tests.support.docker_jobs import contents

NOTE = Note("ab" * 32, "cd" * 32, ("a",), ("a/link",), ("none", "a/b\nc"), alone=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with one file, without a note."""
    path = tmp_path / "a.tar.zst"
    with ArchiveWriter(path) as out:
        out.add(Member("file", b"0", 7, 0o644), iter([b"content"]))
    return path


def test_a_note_comes_back_and_the_archive_is_as_it_was(archive: Path) -> None:
    assert archive_note.read(archive) is None
    before = contents(archive)
    archive_note.append(archive, NOTE)
    assert archive_note.read(archive) == NOTE
    assert contents(archive) == before == {"file": "content"}
    assert names(archive) == {"file"}
    check(archive)


def test_a_note_that_would_be_too_long_is_left_out(archive: Path) -> None:
    before = archive.read_bytes()
    archive_note.append(archive, Note("ab", "cd", tuple(f"root{number}" for number in range(200_000))))
    assert archive.read_bytes() == before


def test_a_damaged_note_is_none(archive: Path, tmp_path: Path) -> None:
    plain = archive.read_bytes()
    archive_note.append(archive, NOTE)
    whole = archive.read_bytes()
    damaged = [b"", b"x", plain, whole[:-1], whole[:-4] + b"\xff\xff\xff\xff", whole[:-4] + b"\x00\x00\x00\x00"]
    for at in range(len(plain), len(plain) + 9):
        damaged.append(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    for number, data in enumerate(damaged):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert archive_note.read(path) is None, number
