"""The model: equal to the coordinator's state, whatever the order in which snapshot and events arrive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.events import AnyEvent, Beacon, JobChanged, RunChanged, RunRemoved, StageChanged, WorkerChanged
from protocol.feed_position import Verdict
from protocol.messages import Snapshot
from protocol.statuses import ExecutionStatus, WorkerStatus
from tests.support.views import job_view, run_summary, run_view, stage_view, worker_view
from tui.client.model import Model

S = ExecutionStatus


def snapshot(seq: int, *, epoch: str = "a", run: object = None, runs: list[int] | None = None) -> Snapshot:
    """A snapshot with runs that have just these ids."""
    return Snapshot(
        id=0,
        epoch=epoch,
        seq=seq,
        runs=[run_summary(number) for number in (runs if runs is not None else [1])],
        workers=[],
        run=run,  # type: ignore[arg-type]
    )


def changed(seq: int, status: ExecutionStatus, *, run: int = 1, epoch: str = "a") -> RunChanged:
    """News of a run."""
    return RunChanged(epoch=epoch, seq=seq, run=run_summary(run, status))


def loaded(seq: int = 10) -> Model:
    """A model that has a snapshot."""
    model = Model()
    model.load_snapshot(snapshot(seq), 0)
    return model


def test_events_after_the_snapshot_are_applied_in_order() -> None:
    model = loaded()
    assert model.apply(changed(11, S.FAILED), 0) is Verdict.APPLIED
    assert model.runs[1].status is S.FAILED
    assert model.seq == 11


def test_an_event_that_the_snapshot_knows_is_old() -> None:
    model = loaded()
    assert model.apply(changed(10, S.FAILED), 0) is Verdict.OLD
    assert model.runs[1].status is S.RUNNING


def test_a_missing_event_is_noticed_and_nothing_after_it_is_applied() -> None:
    model = loaded()
    assert model.apply(changed(12, S.FAILED), 0) is Verdict.GAP
    assert model.runs[1].status is S.RUNNING
    assert model.seq == 10


def test_a_beacon_shows_that_the_last_event_was_lost() -> None:
    model = loaded()
    assert model.apply(Beacon(epoch="a", seq=10), 0) is Verdict.OLD
    assert model.apply(Beacon(epoch="a", seq=11), 0) is Verdict.GAP
    assert model.apply(Beacon(epoch="b", seq=1), 0) is Verdict.GAP


def test_a_clock_that_differs_from_the_coordinators_is_made_up_for() -> None:
    model = loaded()
    model.apply(Beacon(epoch="a", seq=10, at=1000.0), 400.0)
    assert model.skew == 600.0
    model.apply(Beacon(epoch="a", seq=10, at=1000.0), 1000.4)
    assert model.skew == 0.0


def test_events_that_came_before_their_snapshot_are_applied_after_it() -> None:
    model = Model()
    for seq, status in ((4, S.RUNNING), (5, S.FAILED)):
        model.apply(changed(seq, status), 0)
    assert model.load_snapshot(snapshot(3), 0) is Verdict.APPLIED
    assert model.runs[1].status is S.FAILED
    assert model.seq == 5


def test_a_snapshot_that_is_too_old_for_what_came_is_refused() -> None:
    model = Model()
    model.apply(changed(6, S.FAILED), 0)
    assert model.load_snapshot(snapshot(3), 0) is Verdict.GAP


def test_a_new_epoch_begins_anew() -> None:
    model = loaded()
    model.apply(changed(2, S.FAILED, epoch="b"), 0)
    assert model.load_snapshot(snapshot(1, epoch="b", runs=[1, 2]), 0) is Verdict.APPLIED
    assert model.runs[1].status is S.FAILED
    assert set(model.runs) == {1, 2}
    assert model.seq == 2


def test_runs_that_were_removed_are_gone_and_older_ones_that_were_paged_in_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.client.model.SNAPSHOT_RUNS", 2)
    model = Model()
    model.load_snapshot(snapshot(1, runs=[10, 11, 12]), 0)
    model.add_older_runs([run_summary(3), run_summary(4)])
    model.load_snapshot(snapshot(5, runs=[11, 12]), 0)
    assert [run.id for run in model.newest_first()] == [12, 11, 10, 4, 3]
    model.apply(RunRemoved(epoch="a", seq=6, run=4), 0)
    assert [run.id for run in model.newest_first()] == [12, 11, 10, 3]
    model.load_snapshot(snapshot(7, runs=[12]), 0)
    assert [run.id for run in model.newest_first()] == [12]


def test_a_run_that_is_looked_at_follows_its_stages_and_jobs() -> None:
    model = Model()
    run = run_view(1, stage_view("build", job_view("compile")))
    model.load_snapshot(snapshot(1, run=run), 0)
    model.apply(JobChanged(epoch="a", seq=2, run=1, stage="build", job=job_view("compile", S.RUNNING)), 0)
    model.apply(JobChanged(epoch="a", seq=3, run=2, stage="build", job=job_view("compile", S.FAILED)), 0)
    model.apply(StageChanged(epoch="a", seq=4, run=1, stage=stage_view("build", status=S.SUCCESS)), 0)
    assert model.detail is not None
    assert [job.status for job in model.detail.jobs()] == [S.RUNNING]
    assert model.detail.stages["build"].view.status is S.SUCCESS
    assert model.detail.stage_of("compile") == "build"


def test_a_run_that_is_opened_later_is_as_new_as_the_events() -> None:
    model = loaded()
    for seq, status in ((11, S.PENDING), (12, S.RUNNING)):
        model.apply(JobChanged(epoch="a", seq=seq, run=1, stage="build", job=job_view("compile", status)), 0)
    old = snapshot(11, run=run_view(1, stage_view("build", job_view("compile", S.PENDING))))
    assert model.load_detail(old) is Verdict.APPLIED
    assert model.detail is not None
    assert model.detail.jobs()[0].status is S.RUNNING


def test_a_run_that_is_newer_than_the_events_does_not_go_back() -> None:
    model = loaded()
    new = snapshot(13, run=run_view(1, stage_view("build", job_view("compile", S.SUCCESS))))
    assert model.load_detail(new) is Verdict.APPLIED
    for seq, status in ((11, S.PENDING), (12, S.RUNNING), (13, S.SUCCESS)):
        event = JobChanged(epoch="a", seq=seq, run=1, stage="build", job=job_view("compile", status))
        assert model.apply(event, 0) is Verdict.APPLIED
        assert model.detail is not None
        assert model.detail.jobs()[0].status is S.SUCCESS


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_the_model_ends_equal_to_the_truth_whatever_is_lost_or_late(data: st.DataObject) -> None:
    """A coordinator's history is played; events get lost; snapshots are taken at any time and arrive late."""
    history: list[AnyEvent] = []
    truth = Model()
    truth.load_snapshot(Snapshot(id=0, epoch="a", seq=0, runs=[], workers=[]), 0)
    states = [_state(truth)]
    snapshots = [Snapshot(id=0, epoch="a", seq=0, runs=[], workers=[])]
    for seq in range(1, data.draw(st.integers(1, 12)) + 1):
        event = data.draw(EVENTS)(seq)
        history.append(event)
        truth.apply(event, 0)
        states.append(_state(truth))
        runs = sorted(truth.runs.values(), key=lambda run: -run.id)
        workers = list(truth.workers.values())
        snapshots.append(Snapshot(id=0, epoch="a", seq=seq, runs=runs, workers=workers))
    model = Model()
    for event in history:
        if data.draw(st.booleans()):
            model.apply(event, 0)
        if data.draw(st.booleans()):
            model.load_snapshot(data.draw(st.sampled_from(snapshots[: event.seq + 1])), 0)
        if model.epoch:
            assert _state(model) == states[model.seq]
    while model.apply(Beacon(epoch="a", seq=len(history)), 0) is Verdict.GAP:
        model.load_snapshot(snapshots[-1], 0)
    assert _state(model) == states[-1]


EVENTS = st.one_of(
    st.builds(
        lambda run, status: lambda seq: changed(seq, status, run=run),
        st.integers(1, 3),
        st.sampled_from([S.RUNNING, S.FAILED, S.SUCCESS]),
    ),
    st.builds(lambda run: lambda seq: RunRemoved(epoch="a", seq=seq, run=run), st.integers(1, 3)),
    st.builds(
        lambda name, status: lambda seq: WorkerChanged(epoch="a", seq=seq, worker=worker_view(name, status)),
        st.sampled_from(["w1", "w2"]),
        st.sampled_from(list(WorkerStatus)),
    ),
)


def _state(model: Model) -> tuple[object, ...]:
    return dict(model.runs), dict(model.workers)
