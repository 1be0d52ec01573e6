"""Durations and sizes in human notation: `1h 30m`, `2 weeks`, `never`, `512m`. Pure."""

from __future__ import annotations

import re

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_UNITS: dict[str, float] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 * DAY),
    **dict.fromkeys(("mo", "mos", "mth", "month", "months"), 30 * DAY),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365.25 * DAY),
}
_WORDS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_WORDS |= {"nine": 9, "ten": 10}
_PART = re.compile(r"(\d+(?:\.\d+)?|[a-z]+)\s*([a-z]+)?")
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2})\Z")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\Z", re.IGNORECASE)
_LONGEST = 100


def seconds_of(text: str) -> float | None:
    """A duration in seconds, as GitLab parses it (a bare number is seconds); None if invalid."""
    text = text.strip().lower()
    if not text or len(text) > _LONGEST:
        return None
    if clock := _CLOCK.match(text):
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return hours * HOUR + minutes * MINUTE + seconds
    words = re.sub(r"\band\b|,", " ", text)
    total = 0.0
    end = 0
    for part in _PART.finditer(words):
        if words[end : part.start()].strip():
            return None
        end = part.end()
        amount = _WORDS.get(part[1]) if part[1].isalpha() else float(part[1])
        unit = _UNITS.get(part[2] or "s")
        if amount is None or unit is None:
            return None
        total += amount * unit
    return total if end and not words[end:].strip() else None


def bytes_of(text: str) -> int | None:
    """A size in bytes, with Docker's units (1k is 1024); None if invalid."""
    match = _SIZE.match(text.strip()) if len(text) <= _LONGEST else None
    if match is None:
        return None
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
