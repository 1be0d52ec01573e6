"""What the results of tests over several runs come to: which fail, since when, and which are flaky. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from protocol.test_results import Verdict, unpack
from protocol.views import AttemptTests


@dataclass(slots=True)
class TestHistory:
    """The results of one test, newest first.

    `passed`, `failed` and `skipped` count results. `since` is the oldest of the failures after its last success, and
    None if it has not failed in its newest result (skipped ones do not count); `passed_before`: a success is known
    before that. `flaky_in` are the newest attempts with files on which the test has both passed and failed.
    """

    __test__ = False  # pytest

    project: str
    job: str
    name: str
    newest: AttemptTests
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    since: AttemptTests | None = None
    passed_before: bool = False
    flaky_in: list[AttemptTests] = field(default_factory=list)
    _verdicts: dict[str, set[Verdict]] = field(default_factory=dict)  # by files

    @property
    def mean_seconds(self) -> float:
        """The mean duration of the results that were not skipped."""
        ran = self.passed + self.failed
        return self.seconds / ran if ran else 0.0

    def add(self, attempt: AttemptTests, verdict: Verdict, seconds: float) -> None:
        """Adds an older result, or another one of the same attempt."""
        if verdict is Verdict.SKIPPED:
            self.skipped += 1
            return
        self.seconds += seconds
        if verdict is Verdict.FAILED:
            if not self.passed:
                self.since = attempt
            self.failed += 1
        else:
            self.passed_before = self.passed_before or self.since is not None
            self.passed += 1
        seen = self._verdicts.setdefault(attempt.files, set())
        if verdict not in seen:
            seen.add(verdict)
            if len(seen) == 2:
                self.flaky_in.append(attempt)


def histories(attempts: Iterable[AttemptTests]) -> list[TestHistory]:
    """The histories of all tests in attempts, which are given newest first. Damaged results are left out.

    Tests of the same name in different jobs are different tests.
    """
    found: dict[tuple[str, str, str], TestHistory] = {}
    for attempt in attempts:
        try:
            results = unpack(attempt.results)
        except ValueError:
            continue
        for result in results:
            key = (attempt.project, attempt.job, result.name)
            history = found.get(key)
            if history is None:
                history = found[key] = TestHistory(*key, newest=attempt)
            history.add(attempt, result.verdict, result.seconds)
    return list(found.values())


def failing(tests: Iterable[TestHistory]) -> list[TestHistory]:
    """The tests that failed in their newest result, those that fail for the shortest time first."""
    return sorted((test for test in tests if test.since is not None), key=_since, reverse=True)


def _since(test: TestHistory) -> int:
    return test.since.job_id if test.since is not None else 0


def flaky(tests: Iterable[TestHistory]) -> list[TestHistory]:
    """The tests that both passed and failed on the same files, the ones that did so most often first."""
    return sorted((test for test in tests if test.flaky_in), key=lambda test: len(test.flaky_in), reverse=True)


def slowest(tests: Iterable[TestHistory]) -> list[TestHistory]:
    """The tests by their mean duration, the slowest first; without those that never ran."""
    ran = (test for test in tests if test.passed + test.failed)
    return sorted(ran, key=lambda test: test.mean_seconds, reverse=True)
