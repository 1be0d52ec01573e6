"""A minute of chaos in every run of the tests; `make chaos` is the same for as long as one likes, with any seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Images
from tests.faults.chaos import session

SECONDS = 40.0
"""Of faults; waiting for the runs to end and looking at all of them makes it a minute."""
SEED = 20


@pytest.mark.timeout(300)
def test_nothing_is_lost_whatever_is_killed_cut_off_or_suspended(tmp_path: Path, images: Images) -> None:
    told: list[str] = []
    found = session(tmp_path, SEED, SECONDS, say=told.append)
    assert found.wrong == [], "\n".join([*told, f"again with: make chaos SECONDS={SECONDS:g} SEED={SEED}"])
    assert found.runs > 0
    assert found.log_bytes > 0
