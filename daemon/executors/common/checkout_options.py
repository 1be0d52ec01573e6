"""Parses a job's checkout options from its variables, as GitLab Runner does. Pure.

GIT_CLEAN_FLAGS and GIT_FETCH_EXTRA_FLAGS have nothing to act on: each job starts with a fresh checkout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from daemon.executors.base import CheckoutOptions, JobFailed
from protocol.statuses import FailureReason

DEPTH = 20
"""The depth of a new GitLab project."""
STRATEGIES = ("clone", "fetch", "none", "empty")
SUBMODULES = ("none", "normal", "recursive")
EXCLUDE = ":(exclude)"
BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
INTEGER = re.compile(r"[+-]?\d{1,18}")


def checkout_options(values: Mapping[str, str], warnings: list[str]) -> CheckoutOptions | None:
    """The options set by a job's variables; None for an empty project directory. Adds to `warnings`, for people.

    Raises JobFailed for an unknown strategy and a bad pathspec, as GitLab does.
    """
    strategy = _choice(values, "GIT_STRATEGY", STRATEGIES, "fetch")
    if strategy in ("none", "empty"):
        return None
    depth = _depth(values, "GIT_DEPTH", DEPTH, warnings)
    return CheckoutOptions(
        depth=depth,
        files=_files(values, warnings),
        submodules=_choice(values, "GIT_SUBMODULE_STRATEGY", SUBMODULES, "none"),
        submodule_paths=_pathspecs(values.get("GIT_SUBMODULE_PATHS", "")),
        submodule_depth=_depth(values, "GIT_SUBMODULE_DEPTH", depth, warnings),
    )


def _choice(values: Mapping[str, str], name: str, known: Sequence[str], default: str) -> str:
    value = values.get(name) or default
    if value not in known:
        raise JobFailed(
            FailureReason.RUNNER_SYSTEM_FAILURE, f"unknown {name} {value[:100]!r}: it is one of {', '.join(known)}"
        )
    return value


def _depth(values: Mapping[str, str], name: str, default: int, warnings: list[str]) -> int:
    """A number of commits; 0 for all of them, which negative numbers mean too."""
    text = values.get(name, "").strip()
    if not text:
        return default
    if not INTEGER.fullmatch(text):
        _warn(warnings, f"{name} has no effect: {text[:100]!r} is not a number of commits")
        return default
    return max(0, int(text))


def _files(values: Mapping[str, str], warnings: list[str]) -> bool:
    text = values.get("GIT_CHECKOUT", "").strip()
    value = BOOLEANS.get(text.lower())
    if text and value is None:
        _warn(warnings, f'GIT_CHECKOUT has no effect: {text[:100]!r} is neither "true" nor "false"')
    return value is not False


def _warn(warnings: list[str], text: str) -> None:
    """Warns once: a preparation may be repeated."""
    if text not in warnings:
        warnings.append(text)


def _pathspecs(text: str) -> tuple[str, ...]:
    """The pathspecs in a list with spaces. `:(exclude)` may stand before its path as a word of its own."""
    found: list[str] = []
    words = iter(text.split())
    for word in words:
        path = next(words, "") if word == EXCLUDE else word
        if not path:
            raise JobFailed(
                FailureReason.RUNNER_SYSTEM_FAILURE,
                f"GIT_SUBMODULE_PATHS {text[:100]!r} ends with {EXCLUDE}, which needs a path after it",
            )
        found.append(EXCLUDE + path if word == EXCLUDE else path)
    return tuple(found)
