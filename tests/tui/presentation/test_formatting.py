"""Words and signs."""

from __future__ import annotations

import pytest

from protocol.display import clean
from protocol.statuses import ExecutionStatus, FailureReason
from tests.support.views import job_view
from tui.presentation.formatting import PASSED_WITH_WARNINGS, SIGNS, WARNING, age, duration, job_sign, size, why
from tui.presentation.progress_bar import bar
from tui.presentation.spans import fit, fit_spans

S = ExecutionStatus


def test_every_status_has_a_sign_that_is_told_from_all_others_without_colour() -> None:
    assert set(SIGNS) == set(S)
    signs = [*SIGNS.values(), WARNING, PASSED_WITH_WARNINGS]
    assert len({str(sign) for sign in signs}) == len(signs)
    assert len({sign.letter for sign in SIGNS.values()}) == len(SIGNS)
    assert len({sign.shape for sign in SIGNS.values()}) == len(SIGNS)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0, "0:00"), (7.9, "0:07"), (754, "12:34"), (3900, "1h 05m"), (273600, "3d 04h")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "now"), (59, "59s"), (60, "1m"), (7200, "2h"), (200000, "2d")])
def test_ages(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")])
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


def test_a_name_from_outside_can_not_command_the_terminal() -> None:
    assert clean("evil\x1b[2Jname\u202etxt\nline") == "evil�[2Jname�txt line"


def test_an_allowed_failure_is_a_warning_and_says_why() -> None:
    job = job_view(
        "lint",
        S.FAILED,
        allow_failure=True,
        exit_code=3,
        failure_reason=FailureReason.SCRIPT_FAILURE,
        message="exit code 3",
    )
    assert job_sign(job) is WARNING
    assert why(job) == "script_failure, exit code 3"


def test_a_job_that_waits_says_what_for() -> None:
    assert why(job_view("a", S.PENDING, pending_reason="all slots busy")) == "all slots busy"


def test_texts_are_cut_at_cells_and_not_at_letters() -> None:
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 8) == "日本語  "
    assert fit("abcdef", 4) == "abc…"
    assert fit_spans([("abc", ""), ("defg", "muted")], 5) == [("abc", ""), ("d…", "muted")]
    assert fit_spans([("ab", "")], 4, right=True) == [("  ", ""), ("ab", "")]


def test_a_progress_bar_is_as_long_as_it_is_told_and_never_full_too_early() -> None:
    for counts in ({}, {"success": 3}, {"success": 999, "running": 1}, {"success": 1999, "created": 1}, {"failed": 2}):
        spans = bar(counts, 10)
        assert sum(len(text) for text, _ in spans) == 10
    assert bar({"success": 1999, "created": 1}, 10)[-1][0] == "░"
