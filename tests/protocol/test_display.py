"""What somebody else has written reaches a terminal as text and colours, and commands nothing."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.display import TerminalLines, clean, clean_lines, log_text

ONLY_COLORS = re.compile(rb"(?:[^\x1b]|\x1b\[[0-9;:]*m)*", re.DOTALL)
SPOOFS = [
    "\x1b[2J",
    "\x9b2J",
    "\x1b]0;title\x07",
    "a\rb",
    "bell\x07",
    "abc\u202ecba",
    "\u2066isolated\u2069",
    "\u200emark",
    "\u061cmark",
    "zero\u200bwidth",
    "\ufeffbom",
    "a\u2028b",
    "tag\U000e0041",
    "surrogate\udcff",
    "delete\x7f",
]


@pytest.mark.parametrize("text", SPOOFS)
def test_a_name_shows_that_something_was_in_it_and_does_nothing(text: str) -> None:
    for shown in (clean(f"é{text}ß"), clean_lines(f"é{text}ß")):
        assert "\ufffd" in shown
        assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
        assert shown[0] + shown[-1] == "éß"
        shown.encode()


def test_lines_stay_lines_and_a_name_has_only_one() -> None:
    assert clean("a\nb\tc") == "a b\ufffdc"
    assert clean_lines("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"plain", b"plain"),
        (b"\x1b[1;31mred\x1b[0m", b"\x1b[1;31mred\x1b[0m"),
        (b"\x1b[38;2;1;2;3mrgb\x1b[m", b"\x1b[38;2;1;2;3mrgb\x1b[m"),
        (b"\x1b[2J\x1b[1;1H\x1b[3Jcleared", b"cleared"),
        (b"\x1b[?1049h\x1b[?25lother screen\x1b[?1049l", b"other screen"),
        (b"\x1b]0;title\x07\x1b]2;title\x1b\\named", b"named"),
        (b"\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", b"link"),
        (b"\x1b]52;c;Y3VybA==\x07clipboard", b"clipboard"),
        (b'\x1bP$q"p\x1b\\device', b"device"),
        (b"\x1b_application\x1b\\\x1b^private\x1b\\\x1bXstring\x1b\\text", b"text"),
        (b"\x1bc\x1b7\x1b8\x1b(0\x1b=reset", b"reset"),
        (b"\x1b[>4;2mkeys", b"keys"),
        (b"\x1b[6nasked\x1b[c", b"asked"),
        (b"up\x1b[1A\x1b[10Gdown\x1b[K", b"updown"),
        ("\x9b2Jeight\x9d0;title\x9c bits".encode(), b"eight bits"),
        ("\x9b31mred\x9b0m".encode(), b"\x1b[31mred\x1b[0m"),
        (b"\x9b2J", "\ufffd2J".encode()),
        (b"10%\r20%\r100%", b"100%"),
        (b"windows\r", b"windows"),
        (b"hidden\rshown", b"shown"),
        (b"back\x08\x08space\x07\x00", b"backspace"),
        (b"section_start:1:name[collapsed=true]\r\x1b[0KHeader", b"Header"),
        ("abc\u202ecba\u2066".encode(), b"abccba"),
        ("می\u200cخواهم".encode(), "می\u200cخواهم".encode()),
        (b"\ttab", b"\ttab"),
        (b"unfinished\x1b[3", b"unfinished"),
        (b"unfinished\x1b]0;ti", b"unfinished"),
        (b"\x1b\x1b]0;x\x07[2Jtwice", b"[2Jtwice"),
    ],
)
def test_a_line_of_a_log_is_text_and_colours(written: bytes, shown: bytes) -> None:
    assert TerminalLines().line(written) == shown


def test_a_colour_goes_on_to_the_next_line_and_not_beyond_its_log() -> None:
    lines = TerminalLines()
    assert lines.line(b"\x1b[31mred") == b"\x1b[31mred\x1b[0m"
    assert lines.line(b"\x1b[1mbold") == b"\x1b[31m\x1b[1mbold\x1b[0m"
    assert lines.line(b"\x1b[0;32mgreen") == b"\x1b[31m\x1b[1m\x1b[0;32mgreen\x1b[0m"
    assert lines.line(b"still\x1b[0m plain") == b"\x1b[0;32mstill\x1b[0m plain"
    assert lines.line(b"plain") == b"plain"


def test_colours_that_are_never_reset_take_bounded_memory() -> None:
    lines = TerminalLines()
    for number in range(1000):
        shown = lines.line(b"\x1b[%dm." % (31 + number % 7))
    assert len(shown) < 200


@given(st.lists(st.binary(max_size=60) | st.sampled_from([text.encode(errors="replace") for text in SPOOFS])))
def test_no_byte_of_a_log_commands_a_terminal(pieces: list[bytes]) -> None:
    lines = TerminalLines()
    for line in b"".join(pieces).split(b"\n"):
        shown = lines.line(line)
        assert ONLY_COLORS.fullmatch(shown)
        text = re.sub(r"\x1b\[[0-9;:]*m", "", shown.decode())
        assert not [each for each in text if unicodedata.category(each) in ("Cc", "Zl", "Zp") and each != "\t"]
        assert not set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(text)


def test_lines_that_come_together_stay_apart() -> None:
    assert log_text(b"a\rb\n\x1b]0;x\ny\x07z\n") == "b\n\nyz\n"
