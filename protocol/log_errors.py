"""Which lines of a log look like errors. A guess, for people who look for a failure's cause. Pure."""

from __future__ import annotations

import re

ERROR = re.compile(
    r"\b(?:error|fatal|panic|traceback|exception|segmentation fault|failed|failure)\b(?!\s*[:=]\s*0\b)"
    r"|(?-i:[a-z](?:Error|Exception)\b)|\bnot found\b|\bundefined reference\b",
    re.IGNORECASE,
)
"""Pattern of an error line."""
NO_ERROR = re.compile(r"\b(?:0|no) (?:errors?|failed|failures?)\b|\bfailed[:=]\s*0\b", re.IGNORECASE)
COMMAND = "$ "
"""Prefix of the script's commands in a job's log."""


def is_error(line: str) -> bool:
    """Whether a line of plain text looks like an error; an echoed command that mentions one does not."""
    return not line.startswith(COMMAND) and ERROR.search(line) is not None and NO_ERROR.search(line) is None
