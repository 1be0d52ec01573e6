"""Cron expressions come due exactly once, across every change of a clock."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.cron import Cron
from protocol.errors import UsageError

ZONES = ("Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Beirut", "UTC")
"""With changes at 02:00, at midnight, of half an hour, and none."""


def local(cron: str, since: str, zone: str) -> list[str]:
    """The next three due times after `since`, as local times with their offset."""
    times = islice(Cron(cron, zone).after(datetime.fromisoformat(since).timestamp()), 3)
    return [datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat(timespec="minutes") for at in times]


def test_times_that_the_clock_skips_or_repeats_come_due_once() -> None:
    skipped = local("30 2 * * *", "2026-03-28T12:00+01:00", "Europe/Berlin")
    assert skipped == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00", "2026-03-31T02:30+02:00"]
    repeated = ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00", "2026-10-27T02:30+01:00"]
    assert local("30 2 * * *", "2026-10-25T02:00+02:00", "Europe/Berlin") == repeated
    in_second_hour = local("30 2 * * *", "2026-10-25T02:10+01:00", "Europe/Berlin")
    assert in_second_hour[:2] == repeated[1:], "the repeated 02:30 has come due in the first hour"
    hourly = local("0 * * * *", "2026-10-25T01:30+02:00", "Europe/Berlin")
    assert hourly == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]


FIELD_VALUES = st.sampled_from(["*", "*/15", "0", "30", "0,30", "15-45/10"])
HOURS = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "0-4", "23"])
DAYS = st.sampled_from(["*", "1", "28-31", "L", "*/2"])
WEEKDAYS = st.sampled_from(["*", "0", "1-5", "SUN"])
CHANGES = (
    *("2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T15:00"),
    *("2026-10-03T15:30", "2018-11-04T03:00", "2018-02-18T02:00", "2026-03-28T22:00", "2026-10-24T21:00"),
)
"""Times in UTC at which clocks of the zones were set."""


@settings(max_examples=150, deadline=None)
@given(
    minute=FIELD_VALUES, hour=HOURS, day=DAYS, weekday=WEEKDAYS, zone=st.sampled_from(ZONES),
    change=st.sampled_from(CHANGES), cuts=st.lists(st.integers(0, 4 * 86_400), max_size=8),
)  # fmt: skip
def test_each_due_time_comes_exactly_once_wherever_the_time_is_cut(
    minute: str, hour: str, day: str, weekday: str, zone: str, change: str, cuts: list[int]
) -> None:
    cron = Cron(f"{minute} {hour} {day} * {weekday}", zone)
    begin = datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp() - 2 * 86_400
    end = begin + 4 * 86_400

    def between(since: float, until: float) -> list[float]:
        return list(takewhile(lambda due: due <= until, cron.after(since)))

    whole = between(begin, end)
    points = [begin, *(begin + cut for cut in sorted(cuts)), end]
    pieces = [due for since, until in pairwise(points) for due in between(since, until)]
    assert pieces == whole == sorted(set(whole))
    assert cron.latest(begin, end) == (whole[-1] if whole else None)


@pytest.mark.parametrize(
    ("expression", "zone", "says"),
    [
        ("0 3 * *", "UTC", "needs five fields: minute, hour"),
        ("0 0 3 * * *", "UTC", "needs five fields"),
        ("0 25 * * *", "UTC", "'0 25 * * *': bad hour field"),
        ("*/0 * * * *", "UTC", "bad minute field"),
        ("@reboot", "UTC", "or one of @hourly"),
        ("0 0 30 2 *", "UTC", "bad day-of-month field"),
        ("1," * 150 + "1 * * * *", "UTC", "at most 200 characters"),
        ("0 3 * * *", "Europe/Berln", "unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?"),
        ("0 3 * * *", "berlin", "did you mean Europe/Berlin?"),
        ("0 3 * * *", "../../etc/passwd", "use a name such as Europe/Berlin or UTC"),
        ("0 3 * * *", "Europe", "unknown time zone 'Europe'"),
    ],
)
def test_a_bad_expression_or_zone_gets_one_clear_error(expression: str, zone: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        Cron(expression, zone)
    assert says in str(error.value)


def test_a_minutely_schedule_is_not_counted_through_the_years() -> None:
    now = datetime(2026, 5, 17, 12, 34, 30, tzinfo=UTC).timestamp()
    assert Cron("* * * * *").latest(0.0, now) == now - 30
    assert Cron("@yearly").latest(now - 10 * 365 * 86_400, now) == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
