"""What `longshore tests` makes of the results of several runs."""

from __future__ import annotations

from cli.summary.history import TestHistory, failing, flaky, histories, slowest
from cli.summary.rows import test_rows as rows_of
from protocol.test_results import SingleResult, Verdict, pack
from protocol.views import AttemptTests
from tests.support.documents import check_document

VERDICTS = {"p": Verdict.PASSED, "f": Verdict.FAILED, "s": Verdict.SKIPPED}


def attempt(
    run: int, number: int = 1, files: str = "", job: str = "unit", **tests: str | tuple[str, float]
) -> AttemptTests:
    """An attempt whose tests ended so: p, f or s, perhaps with a duration."""
    results = []
    for name, told in tests.items():
        verdict, seconds = told if isinstance(told, tuple) else (told, 1.0)
        results.append(SingleResult(name, VERDICTS[verdict], seconds))
    return AttemptTests(
        run=run,
        job_id=10 * run,
        job=job,
        attempt=number,
        project="p",
        ref="main",
        sha=f"commit{run}",
        files=files or f"files{run}",
        at=float(run),
        results=pack(results),
    )


def names(tests: list[TestHistory]) -> list[str]:
    return [test.name for test in tests]


def test_a_test_fails_since_the_first_failure_after_its_last_success() -> None:
    tests = histories(
        [
            attempt(5, a="f", b="p", c="s"),
            attempt(4, a="f", b="f", c="f"),
            attempt(3, a="s", b="p", c="f"),
            attempt(2, a="f", b="f"),
            attempt(1, a="p"),
        ]
    )
    found = failing(tests)
    assert names(found) == ["c", "a"]
    assert [(test.since.run, test.passed_before) for test in found if test.since] == [(3, False), (2, True)]


def test_a_test_is_flaky_if_it_passed_and_failed_on_the_same_files() -> None:
    tests = histories(
        [
            attempt(4, 2, a="p", b="p", c="s"),
            attempt(4, 1, a="f", b="f", c="f"),
            attempt(3, files="same", a="p", d="p"),
            attempt(2, files="same", a="f", d="p"),
            attempt(1, d="f"),
        ]
    )
    found = flaky(tests)
    assert names(found) == ["a", "b"]
    assert [(each.run, each.attempt) for each in found[0].flaky_in] == [(4, 1), (2, 1)]


def test_a_test_of_two_jobs_is_two_tests() -> None:
    tests = histories([attempt(1, files="f", a="p"), attempt(1, files="f", job="other", a="f")])
    assert [(test.job, test.failed) for test in tests] == [("unit", 0), ("other", 1)]
    assert flaky(tests) == []


def test_the_slowest_are_told_by_their_mean_without_skipped_results() -> None:
    tests = histories([attempt(2, a=("p", 1.0), b=("s", 0.0), c=("s", 0.0)), attempt(1, a=("f", 3.0), b=("p", 5.0))])
    assert [(test.name, test.mean_seconds) for test in slowest(tests)] == [("b", 5.0), ("a", 2.0)]


def test_damaged_results_are_left_out() -> None:
    damaged = AttemptTests(
        run=1, job_id=1, job="j", attempt=1, project="p", ref="", sha="", files="f", at=None, results=b"junk"
    )
    assert names(histories([damaged, attempt(1, a="p")])) == ["a"]


def test_rows_are_for_people_or_as_the_schema_says() -> None:
    tests = histories([attempt(12, 2, a="f"), attempt(12, 1, a="p"), attempt(11, a="f")])
    (row,) = rows_of(tests, for_people=True)
    assert row == {
        "Test": "a",
        "Job": "unit",
        "Failed": "2 of 3",
        "Fails since": "run 12 (commit12)",
        "Flaky in": "run 12 (commit12)",
        "Mean": "1.0 s",
    }
    document = rows_of(tests, for_people=False)
    check_document("tests", document)
    assert document[0]["failing_since"]["attempt"] == 2
