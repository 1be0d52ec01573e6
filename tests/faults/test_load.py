"""A fleet of real daemons with virtual containers, killed at random: `benchmarks.load`, but smaller."""

from __future__ import annotations

import pytest

from benchmarks.load import run_load


@pytest.mark.parametrize(
    ("workers", "jobs", "seconds"),
    [(20, 400, 6.0), pytest.param(200, 10_000, 60.0, marks=[pytest.mark.long, pytest.mark.timeout(900)])],
)
def test_every_job_of_a_large_fleet_ends_once_and_right(workers: int, jobs: int, seconds: float) -> None:
    assert run_load(workers, jobs, seconds, seed=8) == []
