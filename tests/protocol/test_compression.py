"""Archives compress with zstd, and are read whether compressed or not."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from protocol.compression import DAMAGE, compressed, decompress, decompressed

CONTENTS = {"nothing": b"", "text": b"the same line\n" * 100_000, "random": os.urandom(3_000_000)}


def packed(path: Path, content: bytes) -> bytes:
    """Compresses into a file."""
    with path.open("wb") as file, compressed(file) as out:
        for at in range(0, len(content), 70_000):
            out.write(content[at : at + 70_000])
    return path.read_bytes()


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_comes_back_and_equal_content_has_equal_bytes(tmp_path: Path, kind: str) -> None:
    content = CONTENTS[kind]
    data = packed(tmp_path / "1", content)
    assert packed(tmp_path / "2", content) == data
    assert len(data) < 100 + (len(content) // 100 if kind == "text" else len(content) * 1.001)
    with decompressed(tmp_path / "1") as stream:
        assert stream.read() == content


def test_gzip_and_plain_files_are_read_too(tmp_path: Path) -> None:
    for data in (b"plain", b"", gzip.compress(b"plain")):
        (tmp_path / "file").write_bytes(data)
        with decompressed(tmp_path / "file") as stream:
            assert stream.read() == (b"plain" if data else b"")


def test_a_file_is_replaced_by_its_content_unless_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = packed(path, CONTENTS["text"])
    assert decompress(path) == len(CONTENTS["text"])
    assert path.read_bytes() == CONTENTS["text"]
    path.write_bytes(data[:-4] + bytes(4))
    with pytest.raises(DAMAGE):
        decompress(path)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
