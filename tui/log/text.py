"""From a log's bytes to what is shown of them: plain text to search and measure, coloured text to draw. Pure.

A log is a program's output for a terminal: it has colours, progress bars that overwrite their line, and GitLab's
section markers. Of all that only colours and the last state of a line are shown; see `protocol.display`.
"""

from __future__ import annotations

import re

from rich.ansi import AnsiDecoder
from rich.style import Style
from rich.text import Text

from protocol.display import COLOR, log_text

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
    text = log_text(data)
    if "\x1b" in text:
        text = COLOR.sub("", text)
    if "\t" in text:
        text = "\n".join(line.expandtabs(TAB_WIDTH) for line in text.split("\n"))
    return text


def colored(data: bytes, carried: str, base: Style) -> Text:
    """One line with its colours, on top of `base`. `carried` are the colour sequences still in force before it."""
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


def is_error(line: str) -> bool:
    """Whether a line of plain text looks like an error; a command that speaks of one is none."""
    return not line.startswith(COMMAND) and ERROR.search(line) is not None and NO_ERROR.search(line) is None
