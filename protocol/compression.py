"""Compression of archives: written with zstd, read with zstd, gzip or none.

zstd at its lowest level compresses text at several hundred MB/s, and stores incompressible data, such as compressed
files, at about 1 GB/s, so archives need no choice between compressed and plain.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

LEVEL = 1
"""Archives are written once and read a few times: speed before size."""
LEVELS = {"fastest": -3, "fast": -1, "default": LEVEL, "slow": 6, "slowest": 12}
"""The levels by the names that GitLab Runner's variables have for them."""
MOST_WINDOW = 8 << 20
"""Limit in bytes of the memory that a frame may demand from its reader; LEVEL needs 512 KiB, the slowest one 4 MiB."""
READ_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
"""Errors of a reader of damaged data. A zstd stream cut short ends without an error: its content must say its end."""


class Output(Protocol):
    """A file to write to."""

    def write(self, data: bytes, /) -> int:
        """Writes all of it."""


@contextmanager
def decompressed(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, decompressed if necessary. Reading raises one of DAMAGE, OSError."""
    with path.open("rb") as file:
        magic = file.read(len(ZSTD_MAGIC))
        file.seek(0)
        if magic == ZSTD_MAGIC:
            decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_WINDOW)
            with decompressor.stream_reader(file, read_size=READ_BYTES, read_across_frames=True) as plain:
                yield plain
        elif magic.startswith(GZIP_MAGIC):
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]  # a GzipFile reads bytes, though it is not declared a BinaryIO
        else:
            yield file


@contextmanager
def compressed(file: Output, level: int = LEVEL) -> Iterator[BinaryIO]:
    """Writes zstd to `file`: equal content and level, equal bytes."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    with compressor.stream_writer(cast(BinaryIO, file), write_size=READ_BYTES, closefd=False) as packed:
        yield packed


def decompress(path: Path) -> int:
    """Replaces a file by its decompressed content; returns its size. Raises one of DAMAGE, OSError."""
    plain = path.with_name(f"{path.name}.plain")
    try:
        with decompressed(path) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, READ_BYTES)
            size = target.tell()
        plain.replace(path)
    finally:
        plain.unlink(missing_ok=True)
    return size
