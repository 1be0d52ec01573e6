"""The transition table: what it allows, what it refuses, and that the docs draw it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.engine.transitions import TABLE, IllegalTransition, JobEvent, mermaid
from protocol.statuses import ENDED
from protocol.statuses import ExecutionStatus as S
from tests.support.engine_simulation import Sim, SimWorker
from tests.support.plans import job, plan

DOCS = Path(__file__).parents[3] / "docs"


def test_the_docs_draw_the_table_as_it_is() -> None:
    assert mermaid() in (DOCS / "statuses.md").read_text()


def test_every_status_is_in_the_table_and_in_the_docs() -> None:
    page = (DOCS / "statuses.md").read_text()
    for status in S:
        assert status in TABLE
        assert f"`{status.value}`" in page


def test_only_a_retry_changes_what_has_ended() -> None:
    for status in ENDED:
        assert set(TABLE[status]) == {JobEvent.RESET}


def test_a_running_job_can_not_be_skipped_or_taken_back_to_its_needs() -> None:
    assert JobEvent.SKIP not in TABLE[S.RUNNING]
    assert JobEvent.WITHDRAW not in TABLE[S.RUNNING]


def test_an_impossible_event_names_job_statuses_and_story() -> None:
    sim = Sim(SimWorker("w"))
    run = sim.submit(plan(job("build")))
    sim.start(run, "build")
    with pytest.raises(IllegalTransition, match=r"job build: 'skip' can't happen in status 'running'.*w runs it"):
        sim.engine._ledger.move(sim.job(run, "build"), JobEvent.SKIP, "never")
