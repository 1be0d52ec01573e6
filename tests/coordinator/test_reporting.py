"""A broken branch is told once, once a day while it stays broken, and once when it is fixed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.engine.state import JobState, RunState, StageState
from coordinator.reporting import DAY, BranchResult, branch_of, change, is_told, message, statuses
from protocol.deliveries import ChannelSpec, ChannelTrigger
from protocol.messages import Source
from protocol.statuses import ExecutionStatus as S
from tests.support.plans import job, plan

ENDS = st.sampled_from([S.SUCCESS, S.FAILED, S.CANCELED, S.SKIPPED])


def run_of(status: S, **source: object) -> RunState:
    fields = {"ref": "main", "sha": "a" * 40, "trigger": 1, "event": "push", **source}
    jobs = [JobState(id=i, run_id=7, stage_index=0, plan=job(name)) for i, name in enumerate("ab")]
    stage = StageState(run_id=7, index=0, name="test", jobs=jobs)
    made = plan(*(each.plan for each in jobs))
    return RunState(id=7, token="t", plan=made, source=Source(**fields), stages=[stage], status=status)  # type: ignore[arg-type]


@given(ends=st.lists(st.tuples(ENDS, st.floats(1.0, 2 * DAY)), max_size=60))
def test_what_is_told_alternates_between_broken_and_fixed(ends: list[tuple[S, float]]) -> None:
    result: BranchResult | None = None
    now, told_at, broken = 1_800_000_000.0, 0.0, False
    for run, (status, pause) in enumerate(ends, 1):
        now += pause
        result, event = change(result, run, status, now)
        if event == "broken":
            assert not broken
        elif event == "still broken":
            assert broken
            assert now - told_at >= DAY
        elif event == "fixed":
            assert broken
            assert status is S.SUCCESS
        elif status is S.FAILED:
            assert broken
            assert now - told_at < DAY
        else:
            assert status is not S.SUCCESS or not broken
        if status is S.FAILED:
            told_at, broken = (now if event else told_at), True
        elif status is S.SUCCESS:
            broken = False


@given(order=st.permutations(range(1, 8)), ends=st.lists(ENDS, min_size=7, max_size=7))
def test_the_newest_run_decides_in_whatever_order_runs_end(order: list[int], ends: list[S]) -> None:
    result: BranchResult | None = None
    for run in order:
        result, _ = change(result, run, ends[run - 1], 0.0)
    counting = [(run, status) for run, status in enumerate(ends, 1) if status in (S.SUCCESS, S.FAILED)]
    if not counting:
        assert result is None
    else:
        run, status = counting[-1]
        assert (result.run, result.broken) == (run, status is S.FAILED)


def test_a_retried_run_that_passes_fixes_its_branch() -> None:
    broken, _ = change(None, 3, S.FAILED, 10.0)
    assert change(broken, 3, S.SUCCESS, 20.0)[1] == "fixed"


@pytest.mark.parametrize(
    ("on", "branches", "status", "source", "changed", "told"),
    [
        ("change", [], S.FAILED, {}, None, False),
        ("change", [], S.FAILED, {}, "broken", True),
        ("failure", [], S.FAILED, {}, None, True),
        ("failure", [], S.SUCCESS, {}, "fixed", False),
        ("always", [], S.CANCELED, {}, None, True),
        ("always", ["main", "release/*"], S.SUCCESS, {}, None, True),
        ("always", ["release/*"], S.SUCCESS, {}, None, False),
        ("always", ["main"], S.SUCCESS, {"event": "merge_request_event"}, None, False),
        ("always", ["main"], S.SUCCESS, {"fork": True}, None, False),
        ("always", [], S.SUCCESS, {"event": "merge_request_event", "fork": True}, None, True),
    ],
)
def test_a_channel_gets_what_it_asked_for(
    on: ChannelTrigger, branches: list[str], status: S, source: dict[str, object], changed: None, told: bool
) -> None:
    channel = ChannelSpec(project="a/b", url="", on=on, branches=branches)
    assert is_told(channel, run_of(status, **source), changed) is told


def test_statuses_of_a_run_and_its_jobs_name_their_context_and_an_allowed_failure_passes() -> None:
    run = run_of(S.FAILED)
    run.started_at, run.finished_at = 100.0, 172.0
    good, bad = run.stages[0].jobs
    good.status, good.allowed_to_fail, bad.status = S.FAILED, True, S.FAILED
    found = list(statuses(run, [good, bad], per_job=True))
    assert [(each.context, each.status) for each in found] == [
        ("longshore/push", S.FAILED),
        ("longshore/push/a", S.SUCCESS),
        ("longshore/push/b", S.FAILED),
    ]
    assert found[0].description == "run 7 failed after 1 min 12 s"
    assert message(run, "broken").failed_jobs == ["b"]
    assert list(statuses(run_of(S.FAILED, sha=""), [], per_job=True)) == []


def test_a_fork_breaks_no_branch_of_the_project() -> None:
    names = {
        branch_of(run_of(S.FAILED)),
        branch_of(run_of(S.FAILED, event="merge_request_event")),
        branch_of(run_of(S.FAILED, event="merge_request_event", fork=True)),
    }
    assert len(names) == 3
