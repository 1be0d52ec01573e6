"""From a log's bytes to what is shown of them: plain text to search and measure, coloured text to draw. Pure.

A log is a program's output for a terminal: it has colours, progress bars that overwrite their line, and GitLab's
section markers. Of all that only colours and the last state of a line are shown; nothing else reaches the terminal.
"""

from __future__ import annotations

import re

from rich.ansi import AnsiDecoder
from rich.style import Style
from rich.text import Text

SECTION = re.compile(r"section_(start|end):(\d+):([^\r\n\[\]]{1,255})(\[[^\]\r\n]*\])?\r?(?:\x1b\[0?K)?")
"""GitLab's marker; its groups are kind, Unix time, name and options."""
ESCAPE = re.compile(
    r"\x1b(?:\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|[PX^_][^\x1b\n]*(?:\x1b\\)?"  # DCS and its kin
    r"|\[[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|[ -/]*[0-~]?)"
)
"""Every escape sequence."""
UNCOLORED = re.compile(
    r"\x1b(?:\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?"
    r"|\[(?![0-9;:]*m)[0-?]*[ -/]*[@-~]?|(?!\[)[ -/]*[0-~]?)"
)
"""Every escape sequence but colours."""
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\r\n])")
"""What a later part of the same line has replaced."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ERROR = re.compile(
    r"\b(?:error|fatal|panic|traceback|exception|segmentation fault|failed|failure)\b(?!\s*[:=]\s*0\b)|\bnot found\b",
    re.IGNORECASE,
)
"""What the first error of a log looks like."""
NO_ERROR = re.compile(r"\b(?:0|no) (?:errors?|failed|failures?)\b|\bfailed[:=]\s*0\b", re.IGNORECASE)
TAB_WIDTH = 8
MAX_LINE_BYTES = 16_384
"""Of a longer line the rest is not shown; saving the log gives all of it."""
COMMAND = "$ "
"""How a job's log marks the commands of its script."""


def plain(data: bytes) -> str:
    """The text of one or more lines as a reader sees it, without any control character but newlines."""
    text = data.decode("utf-8", "replace")
    if "section_" in text:
        text = SECTION.sub("", text)
    if "\x1b" in text:
        text = ESCAPE.sub("", text)
    if "\r" in text:
        text = OVERWRITTEN.sub("", text).replace("\r", "")
    if "\t" in text:
        text = "\n".join(line.expandtabs(TAB_WIDTH) for line in text.split("\n"))
    return text if text.isprintable() else CONTROL.sub("", text)


def colored(data: bytes, carried: str, base: Style) -> Text:
    """One line with its colours, on top of `base`. `carried` are the colour sequences still in force before it."""
    text = data.decode("utf-8", "replace")
    if "section_" in text:
        text = SECTION.sub("", text)
    if "\x1b" in text:
        text = UNCOLORED.sub("", text)
    if "\r" in text:
        text = OVERWRITTEN.sub("", text).replace("\r", "")
    text = CONTROL.sub("", text)
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


def is_error(line: str) -> bool:
    """Whether a line of plain text looks like an error; a command that speaks of one is none."""
    return not line.startswith(COMMAND) and ERROR.search(line) is not None and NO_ERROR.search(line) is None
