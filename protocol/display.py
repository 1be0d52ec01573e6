"""Sanitizes untrusted text for terminals: one filter for names and messages, one for the lines of a log.

Names come from pipeline files, commits and other users, logs from a job's programs. Neither may move the cursor, change
the terminal, hide text or reorder it. Colours in logs stay. Pure.
"""

from __future__ import annotations

import re

UNSHOWN = (
    "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
"""Part of a character class: DEL, C1, surrogates, and Unicode's characters that reverse, separate or hide text."""
IN_A_NAME = re.compile(f"[\x00-\x1f\u200c\u200d{UNSHOWN}]")
IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f\u200c\u200d{UNSHOWN}]")
IN_A_LOG = re.compile(f"[\x00-\x08\x0b-\x1a\x1c-\x1f{UNSHOWN}]")
"""All control characters except ESC, tab, newline and the joiners that some scripts need."""
WEB = re.compile(r"https?://[^/\s]", re.IGNORECASE)
"""The beginning of an address of a web page."""
NOT_IN_AN_ADDRESS = re.compile("[^!-~]")
REPLACED = "\ufffd"
EIGHT_BITS = {code: f"\x1b{chr(code - 0x40)}" for code in range(0x80, 0xA0)}
"""Each C1 control character, and its equivalent two-character escape sequence."""
SECTION = re.compile(r"section_(start|end):(\d+):([^\r\n\[\]]{1,255})(\[[^\]\r\n]*\])?\r?(?:\x1b\[0?K)?")
"""GitLab's marker; its groups are kind, Unix time, name and options."""
STRINGS = r"\x1b(?:\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[PX^_][^\x1b\n]*(?:\x1b\\)?"
"""OSC (titles, links, the clipboard), DCS and similar sequences, up to their terminator or the end of the line."""
UNCOLORED = re.compile(STRINGS + r"|\[(?![0-9;:]*m)[0-?]*[ -/]*[@-~]?|(?!\[)[ -/]*[0-~]?)")
"""Every escape sequence except colours (SGR)."""
COLOR = re.compile(r"\x1b\[([0-9;:]*)m")
OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\r\n])")
"""Text that a carriage return lets the rest of the line overwrite."""
COLORS_OFF = "\x1b[0m"
MOST_COLORS = 16
"""Maximum colour sequences since the last reset that are carried over to the next line."""


def clean(text: str) -> str:
    """A name or message on one line, with control characters replaced by U+FFFD."""
    return IN_A_NAME.sub(REPLACED, " ".join(text.split("\n"))) if IN_A_NAME.search(text) else text


def hyperlink(url: str) -> str:
    """The address that a terminal may open for an untrusted URL, in printable ASCII; empty unless it is one of HTTP."""
    return NOT_IN_AN_ADDRESS.sub(_quoted, url) if WEB.match(url) else ""


def _quoted(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))


def clean_lines(text: str) -> str:
    """Like `clean`, for text of several lines with tabs."""
    return IN_LINES.sub(REPLACED, text) if IN_LINES.search(text) else text


def printable(name: str) -> str:
    """A file's name for messages: control characters and invalid UTF-8 are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def log_text(data: bytes) -> str:
    """Lines of a log as displayed: the final state of overwritten lines, without escape sequences except colours."""
    text = data.decode("utf-8", "replace")
    if not text.isascii():
        text = text.translate(EIGHT_BITS)
    if "section_" in text:
        text = SECTION.sub("", text)
    if "\x1b" in text:
        text = UNCOLORED.sub("", text)
    if "\r" in text:
        text = OVERWRITTEN.sub(_its_colors, text).replace("\r", "")
    return IN_A_LOG.sub("", text)


def _its_colors(overwritten: re.Match[str]) -> str:
    return "".join(color[0] for color in COLOR.finditer(overwritten[0]))


class TerminalLines:
    """Sanitizes the lines of one log, in order.

    A colour carries over to the next line of the same log, but not into other output printed between them.
    """

    def __init__(self) -> None:
        self._colors: list[str] = []

    def line(self, data: bytes) -> bytes:
        """Sanitizes a line, given without its line end."""
        if not self._colors and data.isascii() and data.decode("ascii").isprintable() and b"section_" not in data:
            return data
        text = log_text(data)
        before = "".join(self._colors)
        for color in COLOR.finditer(text):
            if color[1].lstrip("0")[:1] in ("", ";", ":"):  # a reset, perhaps with something after it
                self._colors.clear()
            if color[1].strip("0;:"):
                self._colors.append(color[0])
        del self._colors[:-MOST_COLORS]
        return f"{before}{text}{COLORS_OFF if self._colors else ''}".encode()
