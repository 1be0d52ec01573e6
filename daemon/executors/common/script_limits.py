"""A job's variables that limit its script and after_script, as in GitLab Runner. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

SCRIPT = "RUNNER_SCRIPT_TIMEOUT"
AFTER_SCRIPT = "RUNNER_AFTER_SCRIPT_TIMEOUT"
IGNORE_ERRORS = "AFTER_SCRIPT_IGNORE_ERRORS"
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}
PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|\u00b5s|ns)\s*")
TRUE = frozenset({"1", "t", "true", "yes", "on"})


class Limits(msgspec.Struct, frozen=True):
    """Time limits of script and after_script in seconds (None: not set), and whether after_script's failure counts.

    `warnings` are for people.
    """

    script: float | None = None
    after: float | None = None
    after_counts: bool = False
    warnings: tuple[str, ...] = ()


def is_true(value: str) -> bool:
    """Whether a switch variable is on."""
    return value.strip().lower() in TRUE


def limits_of(values: Mapping[str, str]) -> Limits:
    """The limits set by a job's variables. An invalid duration only causes a warning, as in GitLab."""
    warnings: list[str] = []

    def seconds(name: str) -> float | None:
        text = values.get(name, "").strip()
        found = _duration(text)
        if text and found is None:
            warnings.append(f"{name} has no effect: {text[:100]!r} is not a duration such as 40s or 1h20m")
        return found or None

    ignores = values.get(IGNORE_ERRORS, "")
    counts = bool(ignores) and not is_true(ignores)
    return Limits(seconds(SCRIPT), seconds(AFTER_SCRIPT), counts, tuple(warnings))


def _duration(text: str) -> float | None:
    """Seconds of a duration in Go's syntax, with spaces allowed between its parts; None if invalid."""
    if text == "0":
        return 0.0
    total, at = 0.0, 0
    while part := PART.match(text, at):
        total += float(part[1]) * UNITS[part[2]]
        at = part.end()
    return total if at == len(text) and text else None
