"""A log's text: what a program writes for a terminal is shown, and nothing of it can command ours."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style

from tui.log.text import colored, plain


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"10%\r20%\r100%", "100%"),
        (b"windows line\r", "windows line"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b[2J\x1b[1;1Htext", "text"),
        (b"a\tb", "a       b"),
        (b"bell\x07 back\x08", "bell back"),
        ("right‮left".encode(), "rightleft"),
        (b"\xff\xfe", "��"),
        (b"\x1b[0Ksection_start:1:name\r\x1b[0KHeader", "Header"),
        (b"\x1b[32mgreen\x1b[m", "green"),
    ],
)
def test_only_the_last_state_of_a_line_is_shown(written: bytes, shown: str) -> None:
    assert plain(written) == shown
    assert colored(written, "", Style()).plain == shown


@given(st.binary(max_size=200))
def test_no_byte_of_a_log_reaches_the_terminal_as_a_control(data: bytes) -> None:
    for text in (plain(data.replace(b"\n", b"")), colored(data.replace(b"\n", b""), "", Style()).plain):
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")]


def test_colours_become_styles_and_links_do_not() -> None:
    text = colored(b"\x1b[1;31mred\x1b[0m \x1b]8;;http://example.com\x1b\\x\x1b]8;;\x1b\\", "", Style())
    assert text.plain == "red x"
    (span,) = [span for span in text.spans if span.style]
    assert isinstance(span.style, Style)
    assert span.style.bold
    assert span.style.color is not None
    assert all(not getattr(span.style, "link", None) for span in text.spans)


def test_colours_of_an_earlier_line_go_on() -> None:
    assert any(isinstance(span.style, Style) and span.style.color for span in colored(b"on", "\x1b[31m", Style()).spans)
