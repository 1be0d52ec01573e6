"""Histories of tests as rows, for people and as JSON: see docs/schemas/tests.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cli.render.json_views import rfc3339
from cli.render.phrases import duration
from cli.summary.history import TestHistory
from protocol.display import clean
from protocol.views import AttemptTests

SHORT = 8
"""Digits of a commit that people read."""


def test_rows(tests: Iterable[TestHistory], *, for_people: bool) -> list[dict[str, Any]]:
    """One row per test, in their order."""
    row = _for_people if for_people else _as_json
    return [row(test) for test in tests]


def _for_people(test: TestHistory) -> dict[str, Any]:
    since = ""
    if test.since is not None:
        since = _place(test.since) if test.passed_before else f"{_place(test.since)} or before"
    flaky = ", ".join(_place(attempt) for attempt in test.flaky_in[:2])
    if len(test.flaky_in) > 2:
        flaky += f" and {len(test.flaky_in) - 2} more"
    return {
        "Test": clean(test.name),
        "Job": clean(test.job),
        "Failed": f"{test.failed} of {test.passed + test.failed}",
        "Fails since": since,
        "Flaky in": flaky,
        "Mean": duration(test.mean_seconds),
    }


def _place(attempt: AttemptTests) -> str:
    return f"run {attempt.run}" + (f" ({clean(attempt.sha[:SHORT])})" if attempt.sha else "")


def _as_json(test: TestHistory) -> dict[str, Any]:
    return {
        "name": test.name,
        "job": test.job,
        "project": test.project,
        "passed": test.passed,
        "failed": test.failed,
        "skipped": test.skipped,
        "mean_seconds": round(test.mean_seconds, 3),
        "newest": _attempt_json(test.newest),
        "failing_since": None if test.since is None else _attempt_json(test.since),
        "passed_before": test.passed_before,
        "flaky_in": [_attempt_json(attempt) for attempt in test.flaky_in],
    }


def _attempt_json(attempt: AttemptTests) -> dict[str, Any]:
    return {
        "run": attempt.run,
        "attempt": attempt.attempt,
        "ref": attempt.ref,
        "sha": attempt.sha,
        "at": rfc3339(attempt.at),
    }
