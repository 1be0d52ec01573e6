"""Reads `artifacts:reports:dotenv` files by GitLab's rules. Pure.

The rules are stricter than those of other tools that read such files: one KEY=VALUE per line, no comments, no empty
lines, no quoting; white space around key and value is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from daemon.reports.files import decode_text

MAX_BYTES = 64 << 10
"""GitLab allows 5 KB unless an administrator allows more."""
MAX_VARIABLES = 150
"""The limit of GitLab's largest plan."""
KEY = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


class BadDotenv(Exception):
    """The file breaks a rule; the message names the file and the line."""


def parse_dotenv(files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The variables of report files, given as (name, content); the last value of a key wins. Raises BadDotenv."""
    variables: dict[str, str] = {}
    for name, content in files:
        if len(content) > MAX_BYTES:
            raise BadDotenv(f"{name}: a dotenv report has at most {MAX_BYTES} bytes, not {len(content)}")
        lines = decode_text(content).split("\n")
        if lines[-1] == "":
            lines.pop()
        for number, line in enumerate(lines, 1):
            key, equals, value = line.partition("=")
            key = key.strip()
            if not equals:
                raise BadDotenv(f"{name}, line {number}: {line[:80]!r} is not KEY=VALUE (no comments or empty lines)")
            if not KEY.fullmatch(key):
                raise BadDotenv(f"{name}, line {number}: {key[:80]!r} is not a valid name: use letters, digits and '_'")
            variables[key] = value.strip()
        if len(variables) > MAX_VARIABLES:
            raise BadDotenv(f"{name}: dotenv reports have at most {MAX_VARIABLES} variables")
    return variables
