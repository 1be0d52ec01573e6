"""The decoder of the engine's log stream gives the same log however the stream is cut into pieces."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.executors.docker.logs.multiplexed import PIECE_BYTES, JobLog, LogTruncated, ScriptEnd, StreamDemultiplexer
from daemon.logs.resume import OffsetFilter

END = b"\x1elongshore end 3 0\n"


RELEASED = b"\x1elongshore released\n"
Piece = tuple[int, bytes]


def framed(*pieces: Piece) -> bytes:
    """A stream of these pieces as an attachment gives it."""
    return b"".join(struct.pack(">BxxxI", stream, len(data)) + data for stream, data in pieces)


def stored(*pieces: Piece) -> bytes:
    """A stream of these pieces as a stored log gives it, with (empty) details."""
    return framed(*((stream, b" " + data) for stream, data in pieces))


def written(*texts: bytes) -> bytes:
    """The stored stream of what was written to stdout once the gate was open, as driver `local` keeps it."""
    lines = b"".join(texts).removesuffix(b"\n").split(b"\n")
    return stored((2, RELEASED), *((1, piece) for line in lines for piece in _pieces(line + b"\n")))


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= PIECE_BYTES:
        return [line]
    text = line.removesuffix(b"\n")
    whole = len(text) // PIECE_BYTES * PIECE_BYTES
    return [text[at : at + PIECE_BYTES] for at in range(0, whole, PIECE_BYTES)] + [text[whole:]]


class Received:
    """A source that gives its bytes a few at a time, and then is closed."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    def recv_into(self, buffer: memoryview, /) -> int:
        size = min(self._sizes.pop(0) if self._sizes else 1 << 20, len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size


def decoded(stream: bytes, sizes: list[int], *, is_stored: bool = True) -> tuple[bytes, int | None]:
    """The log that a stream gives, and the exit code in it."""
    out = bytearray()
    log = JobLog(out.extend)
    StreamDemultiplexer(log, stored=is_stored).read(Received(stream, sizes))
    log.close()
    return bytes(out), log.end.exit_code if log.end else None


near_marks = st.lists(st.sampled_from([b"\x1e", END[:5], END[:-1], b"long", b"\n", b"x" * 9000, b"\x1elongshore end "]))


@given(st.lists(st.binary(max_size=60) | near_marks.map(b"".join)), st.lists(st.integers(1, 5000)))
def test_the_log_is_what_was_written_up_to_our_last_line(texts: list[bytes], sizes: list[int]) -> None:
    log, mark, _ = b"".join([*texts, END, b"never seen\n"]).partition(END)
    assert decoded(written(log, mark, b"never seen\n"), sizes) == (log, 3)


def test_a_mark_in_the_middle_of_a_cut_line_is_found() -> None:
    for before in range(PIECE_BYTES - len(END) - 1, PIECE_BYTES + 2):
        assert decoded(written(b"x" * before, END), [100, 16000, 3, 500, 2, 1]) == (b"x" * before, 3)


def test_what_only_begins_like_our_last_line_is_passed_on() -> None:
    for text in (b"\x1e\n", b"a\x1elong\n", END[:-2] + b"\n", b"\x1elongshore end 1234 0\n"):
        assert decoded(written(text), [1] * 100) == (text, None)


@given(st.lists(st.binary(max_size=60) | near_marks.map(b"".join)), st.lists(st.integers(1, 5000)))
def test_the_live_output_gives_the_same_log(texts: list[bytes], sizes: list[int]) -> None:
    log, mark, _ = b"".join([*texts, END, b"never seen\n"]).partition(END)
    live = framed((2, RELEASED), *((1, text) for text in [*texts, END, b"never seen\n"]))
    assert decoded(live, sizes, is_stored=False) == (log, 3)
    assert decoded(written(log, mark), sizes) == (log, 3)


def test_what_the_entrypoint_said_comes_first_wherever_it_is_in_the_stream() -> None:
    errors = [(2, b"one\n"), (2, b"two\x1elongshore released\n"), (2, b"too late\n")]
    output: list[Piece] = [(1, b"out\n"), (1, b"script\n"), (1, END)]
    for order in ([0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 1], [0, 1, 0, 1, 0, 1]):
        left = [iter(errors), iter(output)]
        pieces = [next(left[which]) for which in order]
        for stream, is_stored in (stored(*pieces), True), (framed(*pieces), False):
            assert decoded(stream, [7] * 20, is_stored=is_stored) == (b"one\ntwoout\nscript\n", 3)


def test_a_container_that_never_came_to_its_gate_has_all_that_it_said() -> None:
    assert decoded(stored((1, b"out\n"), (2, b"err\n")), []) == (b"err\nout\n", None)


def test_a_log_whose_last_part_was_refused_has_not_ended() -> None:
    def refuse(data: bytes) -> None:
        raise BlockingIOError

    log = JobLog(refuse)
    log.stderr(RELEASED)
    with pytest.raises(BlockingIOError):
        log.stdout(b"the last line\n" + END)
    assert log.end is None


def test_an_endless_entrypoint_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.executors.docker.logs.multiplexed.MAX_HELD_BYTES", 100)
    out: list[bytes] = []
    log = JobLog(out.append)
    for _ in range(50):
        log.stdout(b"x" * 10)
    assert len(b"".join(out)) == 500


def test_a_second_connection_goes_on_where_the_first_one_broke() -> None:
    stream = stored((2, RELEASED), *((1, b"line %d\n" % number) for number in range(1000)), (1, END))
    for cut in range(0, len(stream), 997):
        out = bytearray()
        log = JobLog(out.extend)
        reader = StreamDemultiplexer(log, stored=True)
        reader.read(Received(stream[:cut], [50] * 10))
        reader.read(Received(stream, []))
        assert bytes(out) == b"".join(b"line %d\n" % number for number in range(1000))
        assert log.end == ScriptEnd(3, out_of_memory=False)


def test_a_connection_with_another_beginning_is_not_gone_on_with() -> None:
    lines = [(1, b"line %d\n" % number) for number in range(1000)]
    whole, rest = stored((2, RELEASED), *lines), stored(*lines[500:])
    for cut in (40, len(whole) // 2):
        out = bytearray()
        reader = StreamDemultiplexer(JobLog(out.extend), stored=True)
        reader.read(Received(whole[:cut], [7] * 100))
        before = bytes(out)
        with pytest.raises(LogTruncated):
            reader.read(Received(rest, [7] * 100))
        assert bytes(out) == before


def test_a_piece_larger_than_the_buffer_is_taken() -> None:
    data = bytes(range(256)) * 20_000 + b"\n"
    assert decoded(framed((2, RELEASED), (1, data), (1, END)), [], is_stored=False) == (data, 3)


def test_skipping_is_by_bytes_of_the_log() -> None:
    out = bytearray()
    skipper = OffsetFilter(5, out.extend)
    for piece in (b"abc", b"defg", b"hi"):
        skipper.write(piece)
    assert out == b"fghi"
