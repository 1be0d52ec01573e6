"""A due time starts a run exactly once, whenever the clock is looked at and whatever fails in between."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.cron import Cron
from protocol.schedules import MISSED_POLICIES, OVERLAP_POLICIES, ScheduleSpec, ScheduleView
from team.schedules import GRACE, Advance, advance, due

BEGIN = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
"""Half a day before the clocks of Berlin are set back."""
HOUR = 3600.0


def schedule(cron: str = "0 * * * *", **spec: str) -> ScheduleView:
    spec.setdefault("timezone", "Europe/Berlin")
    return ScheduleView(
        id=7, spec=msgspec.convert({"project": "a/b", "cron": cron, **spec}, ScheduleSpec), considered_until=BEGIN
    )


def applied(view: ScheduleView, change: Advance) -> ScheduleView:
    """The schedule after the coordinator has carried out a decision."""
    return msgspec.structs.replace(
        view, considered_until=change.considered_until, waiting_due=change.waiting, note=change.note
    )


@settings(max_examples=60, deadline=None)
@given(
    cron=st.sampled_from(["*/10 * * * *", "30 2 * * *", "0 1-3 * * *", "5 */2 * * *", "0 0 * * 0"]),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    pauses=st.lists(st.floats(1.0, 30 * HOUR), min_size=1, max_size=12),
    busy=st.lists(st.booleans(), min_size=12, max_size=12),
    lost=st.lists(st.booleans(), min_size=12, max_size=12),
    missed=st.sampled_from(MISSED_POLICIES),
    overlap=st.sampled_from(OVERLAP_POLICIES),
)
def test_no_due_time_starts_two_runs_and_none_gets_lost(
    cron: str, zone: str, pauses: list[float], busy: list[bool], lost: list[bool], missed: str, overlap: str
) -> None:
    view, now = schedule(cron, timezone=zone, missed=missed, overlap=overlap), BEGIN
    fired: list[float] = []
    excused: set[float] = set()  # due times that may start no run by the policies
    for pause, is_busy, is_lost in zip(pauses, busy, lost, strict=False):
        before, now = view.considered_until, now + pause
        view = msgspec.structs.replace(view, busy=is_busy)
        decided = advance(view, now)
        if decided is None:
            continue
        if is_lost:  # the launcher was killed before its decision was durable: it decides again
            continue
        if view.waiting_due not in (None, decided.waiting, decided.fire):
            excused.add(view.waiting_due)  # a later one starts the run of both
        view = applied(view, decided)
        passed = _between(cron, zone, before, now)
        if decided.fire is not None:
            assert decided.fire <= now
            assert not is_busy or overlap == "allow"
            fired.append(decided.fire)
            excused.update(at for at in passed if at < decided.fire)
        elif decided.waiting is not None:
            assert overlap == "queue"
            excused.update(at for at in passed if at != decided.waiting)
        else:
            late = now - passed[-1] > GRACE and missed == "skip"
            assert late or (is_busy and overlap == "skip")
            excused.update(passed)
    assert fired == sorted(set(fired))
    waiting = {view.waiting_due} if view.waiting_due else set()
    accounted = set(fired) | excused | waiting
    assert accounted >= set(_between(cron, zone, BEGIN, view.considered_until))


def _between(cron: str, zone: str, since: float, until: float) -> list[float]:
    found: list[float] = []
    for at in Cron(cron, zone).after(since):
        if at > until:
            return found
        found.append(at)
    return found


def test_downtime_is_made_up_by_one_run_or_by_none() -> None:
    two_days_later = BEGIN + 48 * HOUR + 1800
    (once,) = due([schedule(missed="run-once")], two_days_later)
    assert once.fire == once.considered_until == BEGIN + 48 * HOUR
    (none,) = due([schedule(missed="skip")], two_days_later)
    assert (none.fire, none.considered_until) == (None, BEGIN + 48 * HOUR)
    assert none.note == "missed at 2026-10-26 12:00 UTC: nobody watched the clock"
    (prompt,) = due([schedule(missed="skip")], BEGIN + HOUR + GRACE)
    assert prompt.fire == BEGIN + HOUR, "a short restart misses nothing"


def test_a_busy_schedule_skips_queues_or_allows() -> None:
    def decide(overlap: str) -> Advance | None:
        view = msgspec.structs.replace(schedule(overlap=overlap), busy=True, last_run=3)
        return advance(view, BEGIN + HOUR + 5)

    assert decide("allow").fire == BEGIN + HOUR
    skipped = decide("skip")
    assert (skipped.fire, skipped.note) == (None, "skipped at 2026-10-24 13:00 UTC: run 3 was not over")
    queued = decide("queue")
    assert queued is not None
    assert (queued.fire, queued.waiting) == (None, BEGIN + HOUR)
    waits = msgspec.structs.replace(applied(schedule(overlap="queue"), queued), busy=True)
    assert advance(waits, BEGIN + HOUR + 60) is None
    over = advance(msgspec.structs.replace(waits, busy=False), BEGIN + HOUR + 90)
    assert (over.fire, over.waiting, over.considered_until) == (BEGIN + HOUR, None, BEGIN + HOUR)
    later = advance(msgspec.structs.replace(waits, busy=False), BEGIN + 2 * HOUR)
    assert (later.fire, later.waiting) == (BEGIN + 2 * HOUR, None), "one run for both"


def test_a_wrong_clock_and_a_pause_do_no_lasting_harm() -> None:
    ahead = msgspec.structs.replace(schedule(), considered_until=BEGIN + 10_000 * HOUR)
    (reset,) = due([ahead], BEGIN)
    assert (reset.considered_until, reset.fire) == (BEGIN, None)
    assert due([msgspec.structs.replace(schedule(), paused=True)], BEGIN + 100 * HOUR) == []
