"""Decoding in many threads: msgspec itself crashes the process when two of them are the first to see a type."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import msgspec
import pytest

from protocol.decoders import from_json, from_msgpack

FIRST_USES = """
    import sys, threading
    import msgspec
    from protocol.decoders import from_json, from_msgpack

    sys.setswitchinterval(1e-6)
    for _ in range(200):
        names = [f"field_{number}" for number in range(20)]
        inner = msgspec.defstruct("Inner", [(name, int, 0) for name in names])
        outer = msgspec.defstruct("Outer", [(name, inner | None, None) for name in names])
        together = threading.Barrier(4)
        results = []

        def decode(function, data):
            together.wait()
            results.append(function(data, outer).field_7.field_3)

        packed = (from_msgpack, msgspec.msgpack.encode({"field_7": {"field_3": 9}}))
        text = (from_json, b'{"field_7": {"field_3": 9}}')
        threads = [threading.Thread(target=decode, args=args) for args in (packed, packed, text, text)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [9, 9, 9, 9], results
"""


def test_many_threads_may_be_the_first_to_see_a_type() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FIRST_USES)], capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_wrong_value_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        from_json(b'{"a": "b"}', dict[str, int])
    with pytest.raises(msgspec.DecodeError):
        from_msgpack(b"\xc1", dict[str, int])
