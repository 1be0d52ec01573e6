"""Finds a job's test coverage in its log, by the job's `coverage` expression. Pure.

As in GitLab: the last line with a match counts, then the last match in it, and the first number in that match is the
result. RE2 does the matching, so no expression can hang the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

TAIL_BYTES = 1 << 20
"""Bytes searched at the end of a log."""
MAX_LINE = 64 << 10
"""A longer line is no summary of a test tool; only its end is searched."""
SLASHED = re.compile(r"/(?P<body>.*)/(?P<flags>[ims]*)", re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


class LogTail:
    """Keeps the last `size` bytes of a log."""

    def __init__(self, size: int = TAIL_BYTES) -> None:
        self._size = size
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Appends bytes of the log."""
        self._bytes += data[-self._size :]
        if len(self._bytes) > 2 * self._size:
            del self._bytes[: -self._size]

    def bytes(self) -> bytes:
        """The bytes kept."""
        return bytes(self._bytes[-self._size :])

    def lines(self) -> Iterator[str]:
        """Yields lines, the last one first."""
        text = self.bytes().decode("utf-8", "replace")
        for line in reversed(text.split("\n")):
            yield line.rstrip("\r")[-MAX_LINE:]


def find_coverage(expression: str, tail: LogTail) -> float | None:
    """The coverage in percent; None if there is none or the expression is not valid RE2."""
    import re2  # only jobs with `coverage` pay for it

    written = SLASHED.fullmatch(expression)
    if written:
        expression = f"(?{written['flags']})" * bool(written["flags"]) + written["body"]
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(expression, options)
    except re2.error:
        return None
    for line in tail.lines():
        last = None
        for last in pattern.finditer(line):  # noqa: B007
            pass
        if last is None:
            continue
        groups = [group for group in last.groups() if group] if pattern.groups else [last.group()]
        number = NUMBER.search(groups[-1]) if groups else None
        if number:
            return float(number.group())
    return None
