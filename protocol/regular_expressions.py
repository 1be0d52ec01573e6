"""Compiles regular expressions of users with RE2, which guarantees linear time. Pure."""

from __future__ import annotations

from typing import Any

MAX_PATTERN_LENGTH = 4_096
MAX_PROGRAM_BYTES = 8 << 20


class BadPattern(Exception):
    """An invalid or oversized regular expression; the message gives the reason."""


def compile_regex(regex: str, flags: str = "", *, within_lines: bool = False) -> Any:
    """RE2's program for a regular expression without slashes, with GitLab's flags i, s, m and U. Raises BadPattern.

    `within_lines`: no match extends beyond a line of the text.
    """
    import re2  # takes 10 ms to load; files without a pattern do not need it

    if len(regex) > MAX_PATTERN_LENGTH:
        raise BadPattern(f"the regular expression is longer than {MAX_PATTERN_LENGTH} characters")
    options = re2.Options()
    options.max_mem = MAX_PROGRAM_BYTES
    options.log_errors = False
    options.never_nl = within_lines
    try:
        return re2.compile(f"(?{flags}){regex}" if flags else regex, options=options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        reason = str(reason).replace(f"(?{flags})", "", 1)
        raise BadPattern(f"/{regex[:60]}/ is not a regular expression that RE2 supports: {reason}") from None
