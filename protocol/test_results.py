"""The results of a job's tests, packed to travel in its final status and to be stored with its attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import msgspec
import zstandard

from protocol.decoders import from_msgpack

MOST_RESULTS = 20_000
"""Limit of results kept of an attempt; failed ones go first."""
PACKED_BYTES = 256 << 10
"""Limit of packed results. A few hundred KB hold some ten thousand names, which are alike."""
UNPACKED_BYTES = 32 << 20
LEVEL = 9
"""Of zstd: results are packed once, and stay."""


class Verdict(str, Enum):
    """How a test ended."""

    PASSED = "p"
    FAILED = "f"
    SKIPPED = "s"


class SingleResult(msgspec.Struct, frozen=True, array_like=True):
    """The result of one test: its name, and its duration in seconds."""

    name: str
    verdict: Verdict
    seconds: float = 0.0


def pack(results: Sequence[SingleResult]) -> bytes:
    """The results in at most PACKED_BYTES; if they do not fit, those of failed tests stay longest. Empty for none."""
    kept = list(results)
    if len(kept) > MOST_RESULTS:
        kept = sorted(kept, key=_failed_first)[:MOST_RESULTS]
    while kept:
        packed = zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(kept))
        if len(packed) <= PACKED_BYTES:
            return packed
        kept = sorted(kept, key=_failed_first)[: len(kept) // 2]
    return b""


def _failed_first(result: SingleResult) -> bool:
    return result.verdict is not Verdict.FAILED


def unpack(packed: bytes) -> list[SingleResult]:
    """The results in their order. Raises ValueError for damaged ones."""
    if not packed:
        return []
    try:
        if not 0 <= zstandard.frame_content_size(packed) <= UNPACKED_BYTES:
            raise ValueError("the results of tests are too large")
        return from_msgpack(zstandard.ZstdDecompressor().decompress(packed), list[SingleResult])
    except zstandard.ZstdError as error:
        raise ValueError(f"the results of tests are damaged: {error}") from error
