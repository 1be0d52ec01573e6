"""A limited log is the same whatever pieces it comes in and wherever it is resumed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.logs.limiter import TAIL_BYTES, LogLimit


def limited(log: bytes, limit: int, cuts: list[int], stored: int = 0) -> bytes:
    out: list[bytes] = []
    limiter = LogLimit(limit, lambda data, at: out.append(data), stored)
    at = limiter.start
    for size in [*cuts, len(log)]:
        if at < len(log) and size:
            limiter.write(log[at : at + size], 1.0)
            at = min(len(log), at + size)
    limiter.close()
    return b"".join(out)


@given(log=st.binary(max_size=400), limit=st.integers(0, 300), cuts=st.lists(st.integers(1, 90)))
def test_pieces_make_no_difference(log: bytes, limit: int, cuts: list[int]) -> None:
    assert limited(log, limit, cuts) == limited(log, limit, [])


@given(data=st.data(), log=st.binary(max_size=400), limit=st.integers(0, 300), cuts=st.lists(st.integers(1, 90)))
def test_a_resumed_log_goes_on_where_it_stopped(data: st.DataObject, log: bytes, limit: int, cuts: list[int]) -> None:
    whole = limited(log, limit, [])
    stored = data.draw(st.integers(0, len(whole)))
    assert whole[:stored] + limited(log, limit, cuts, stored) == whole


@given(log=st.binary(max_size=400), limit=st.integers(1, 300))
def test_no_more_than_the_limit_and_one_line_come_out(log: bytes, limit: int) -> None:
    out = limited(log, limit, [])
    if len(log) <= limit:
        assert out == log
    else:
        head, tail = limit - limit // 4, limit // 4
        line = b"\n[longshore: %d bytes are left out here; the limit of this log is %d bytes]\n" % (
            len(log) - limit,
            limit,
        )
        assert out == log[:head] + line + log[len(log) - tail :]


def test_the_tail_of_a_large_limit_takes_bounded_memory() -> None:
    out: list[bytes] = []
    limiter = LogLimit(100 << 20, lambda data, at: out.append(data))
    limiter.write(b"x" * (200 << 20), 1.0)
    assert len(limiter._end) <= 101 << 20
    for _ in range(50):
        limiter.write(b"y" * (1 << 20), 1.0)
    assert len(limiter._end) <= 3 * TAIL_BYTES


@given(limit=st.integers(0, 120), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_every_byte_keeps_the_time_at_which_it_was_read(limit: int, sizes: list[int]) -> None:
    log = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    out: list[tuple[float, bytes]] = []
    limiter = LogLimit(limit, lambda data, at: out.append((at, data)))
    at = 0
    for number, size in enumerate(sizes):
        limiter.write(log[at : at + size], float(number))
        at += size
    limiter.close()
    for read_at, data in out:
        _, line, after = data.rpartition(b" bytes]\n")
        assert set(after if line else data) <= {int(read_at)}
