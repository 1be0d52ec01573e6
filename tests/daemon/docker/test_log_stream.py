"""The decoder of the engine's log stream gives the same log however the stream is cut into pieces."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from daemon.log_stream import PIECE_BYTES, LogDecoder, Skipper

END = b"\x1elongshore end 3\n"


def framed(*pieces: tuple[int, bytes]) -> bytes:
    """A stream of these pieces as the engine sends it."""
    return b"".join(struct.pack(">BxxxI", stream, len(data) + 1) + b" " + data for stream, data in pieces)


def written(*texts: bytes) -> bytes:
    """The stream of what was written to stdout, as driver `local` makes it."""
    lines = b"".join(texts).removesuffix(b"\n").split(b"\n")
    return framed(*((1, piece) for line in lines for piece in _pieces(line + b"\n")))


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= PIECE_BYTES:
        return [line]
    text = line.removesuffix(b"\n")
    whole = len(text) // PIECE_BYTES * PIECE_BYTES
    return [text[at : at + PIECE_BYTES] for at in range(0, whole, PIECE_BYTES)] + [text[whole:]]


class Pieces:
    """A source that gives its bytes a few at a time, and then is closed."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = data
        self._sizes = sizes

    def recv_into(self, buffer: memoryview, /) -> int:
        size = min(self._sizes.pop(0) if self._sizes else 1 << 20, len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size


def decoded(stream: bytes, sizes: list[int]) -> tuple[bytes, int | None]:
    out = bytearray()
    decoder = LogDecoder(out.extend)
    decoder.read(Pieces(stream, sizes))
    decoder.close()
    return bytes(out), decoder.exit_code


near_marks = st.lists(st.sampled_from([b"\x1e", END[:5], END[:-1], b"long", b"\n", b"x" * 9000, b"\x1elongshore end "]))


@given(st.lists(st.binary(max_size=60) | near_marks.map(b"".join)), st.lists(st.integers(1, 5000)))
def test_the_log_is_what_was_written_up_to_our_last_line(texts: list[bytes], sizes: list[int]) -> None:
    log, mark, _ = b"".join([*texts, END, b"never seen\n"]).partition(END)
    assert decoded(written(log, mark, b"never seen\n"), sizes) == (log, 3)


def test_a_mark_in_the_middle_of_a_cut_line_is_found() -> None:
    for before in range(PIECE_BYTES - len(END) - 1, PIECE_BYTES + 2):
        assert decoded(written(b"x" * before, END), [100, 16000, 3, 500, 2, 1]) == (b"x" * before, 3)


def test_what_only_begins_like_our_last_line_is_passed_on() -> None:
    for text in (b"\x1e\n", b"a\x1elong\n", END[:-2] + b"\n", b"\x1elongshore end 1234\n"):
        assert decoded(written(text), [1] * 100) == (text, None)


def test_stderr_is_passed_on_but_for_the_mark_of_the_gate() -> None:
    stream = framed((2, b"from the entrypoint\n"), (2, b"no end\x1elongshore released\n"), (1, b"out\n"))
    assert decoded(stream, []) == (b"from the entrypoint\nno endout\n", None)


def test_a_second_connection_goes_on_where_the_first_one_broke() -> None:
    stream = framed(*((1, b"line %d\n" % number) for number in range(1000)), (1, END))
    for cut in range(0, len(stream), 997):
        out = bytearray()
        decoder = LogDecoder(out.extend)
        decoder.read(Pieces(stream[:cut], [50] * 10))
        decoder.read(Pieces(stream, []))
        assert bytes(out) == b"".join(b"line %d\n" % number for number in range(1000))
        assert decoder.exit_code == 3


def test_a_piece_larger_than_the_buffer_is_taken() -> None:
    data = bytes(range(256)) * 20_000 + b"\n"
    assert decoded(framed((1, data), (1, END)), []) == (data, 3)


def test_skipping_is_by_bytes_of_the_log() -> None:
    out = bytearray()
    skipper = Skipper(5, out.extend)
    for piece in (b"abc", b"defg", b"hi"):
        skipper.write(piece)
    assert out == b"fghi"
