"""Results of tests, packed."""

from __future__ import annotations

import random

import msgspec
import pytest
import zstandard

from protocol.test_results import PACKED_BYTES, UNPACKED_BYTES, SingleResult, Verdict, pack, unpack


def test_packed_results_come_back() -> None:
    results = [SingleResult("a", Verdict.PASSED, 1.5), SingleResult("\N{SNOWMAN}", Verdict.SKIPPED)]
    assert unpack(pack(results)) == results
    assert (pack([]), unpack(b"")) == (b"", [])


def test_results_that_do_not_fit_lose_those_that_did_not_fail() -> None:
    names = random.Random(1)
    results = [SingleResult(names.randbytes(100).hex(), Verdict.PASSED) for _ in range(6000)]
    bad = SingleResult("bad", Verdict.FAILED)
    packed = pack([*results, bad])
    kept = unpack(packed)
    assert len(packed) <= PACKED_BYTES
    assert kept[0] == bad
    assert len(kept) > 1000


@pytest.mark.parametrize(
    "packed",
    [
        b"junk",
        pack([SingleResult("a", Verdict.PASSED)])[:-1],
        zstandard.compress(b"\xff\xff"),
        zstandard.compress(msgspec.msgpack.encode([["a", "?"]])),
        zstandard.compress(bytes(UNPACKED_BYTES + 1)),
    ],
)
def test_damaged_or_hostile_results_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(packed)
