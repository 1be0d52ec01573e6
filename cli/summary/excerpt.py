"""Finds the lines of a failed job's log that say why it failed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.display import COLOR, SECTION, log_text
from protocol.log_errors import COMMAND, is_error

LAST_LINES = 8
"""Lines shown of the end of a log."""
ERROR_LINES = 3
"""Lines shown from the first error on, if it is not among the last ones."""
LONGEST_LINE = 400
"""Characters of a line that are kept."""
MULTILINE = " # collapsed multi-line command"
"""What the shell's echo appends to the first line of a command of several."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The lines of a log that matter, as plain text.

    `command` is the script's last one, `section` the headers of the sections that the error is in, the outermost first.
    `first_error` is empty if the error is among `last_lines`, or none was found.
    """

    command: str = ""
    section: list[str] = field(default_factory=list)
    first_error: list[str] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    section: tuple[str, ...]


def excerpt(log: bytes, after_script: Sequence[str] = ()) -> Excerpt:
    """The lines that matter of a log, or of its end. What `after_script` printed is left out: it ran after the failure.

    The first error is looked for in the output of the last command, then in all of it.
    """
    lines = _without(_lines(log), after_script)
    last = next((number for number in range(len(lines) - 1, -1, -1) if lines[number].text.startswith(COMMAND)), None)
    error = _first_error(lines, last or 0)
    if error is None:
        error = _first_error(lines, 0)
    tail = max(0, len(lines) - LAST_LINES)
    shown = range(error, min(error + ERROR_LINES, tail)) if error is not None else range(0)
    place = lines[error if error is not None else -1] if lines else _Line("", ())
    return Excerpt(
        command="" if last is None else lines[last].text.removeprefix(COMMAND),
        section=list(place.section),
        first_error=[lines[number].text for number in shown],
        last_lines=[line.text for line in lines[tail:]],
    )


def _first_error(lines: Sequence[_Line], begin: int) -> int | None:
    return next((number for number in range(begin, len(lines)) if is_error(lines[number].text)), None)


def _lines(log: bytes) -> list[_Line]:
    """The lines as a terminal shows them, without empty ones, each with the sections that it is in."""
    found: list[_Line] = []
    open_sections: list[tuple[str, str]] = []  # name and header
    for data in log.split(b"\n"):
        text = COLOR.sub("", log_text(data)).rstrip()[:LONGEST_LINE]
        if b"section_" in data and not text.startswith(COMMAND):  # the echo of a command that prints a marker is none
            for marker in SECTION.finditer(data.decode("utf-8", "replace")):
                kind, _, name, _ = marker.groups()
                if kind == "start":
                    open_sections.append((name, text or name))
                else:
                    open_sections = [section for section in open_sections if section[0] != name]
        if text:
            found.append(_Line(text, tuple(header for _, header in open_sections)))
    return found


def _without(lines: list[_Line], after_script: Sequence[str]) -> list[_Line]:
    """The lines before those of `after_script`, which begin with the echo of its first command."""
    first, newline, _ = next((command.strip() for command in after_script), "").partition("\n")
    if not first:
        return lines
    echo = f"{COMMAND}{first}{MULTILINE if newline else ''}"[:LONGEST_LINE]
    return lines[: next((number for number in range(len(lines) - 1, -1, -1) if lines[number].text == echo), len(lines))]
