"""Converts a log's bytes for display: plain text to search and measure, coloured text to draw. Pure.

A log is a program's terminal output: it contains colours, progress bars that overwrite their line, and GitLab's section
markers. Only colours and the final state of each line are shown; see `protocol.display`.
"""

from __future__ import annotations

from rich.ansi import AnsiDecoder
from rich.style import Style
from rich.text import Text

from protocol.display import COLOR, log_text

TAB_WIDTH = 8
MAX_LINE_BYTES = 16_384
"""Longer lines are truncated on screen; saving the log gives the full text."""


def plain(data: bytes) -> str:
    """The visible text of one or more lines, without control characters other than newlines."""
    text = log_text(data)
    if "\x1b" in text:
        text = COLOR.sub("", text)
    if "\t" in text:
        text = "\n".join(line.expandtabs(TAB_WIDTH) for line in text.split("\n"))
    return text


def colored(data: bytes, carried: str, base: Style) -> Text:
    """One line with its colours, on top of `base`. `carried` are the colour sequences in effect before it."""
    text = log_text(data)
    if carried or "\x1b" in text:
        decoder = AnsiDecoder()
        line = decoder.decode_line(carried + text.replace("\x1b[m", "\x1b[0m"))
    else:
        line = Text(text)
    line.expand_tabs(TAB_WIDTH)
    line.style = base
    line.no_wrap = True
    line.end = ""
    return line
